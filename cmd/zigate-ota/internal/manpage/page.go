package main

import (
	"slices"
	"strings"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/config"
)

// roff is a page that is being written.
type roff struct{ strings.Builder }

// escape protects backslashes and dashes, which roff would take for escapes and hyphens.
var escape = strings.NewReplacer(`\`, `\e`, `-`, `\-`)

// macro writes a line with a macro of roff and its arguments, which are text.
func (r *roff) macro(name string, arguments ...string) {
	r.WriteString("." + name)
	for _, argument := range arguments {
		r.WriteString(` "` + strings.ReplaceAll(escape.Replace(argument), `"`, `\(dq`) + `"`)
	}
	r.WriteByte('\n')
}

// text writes lines of text, which roff fills.
func (r *roff) text(text string) {
	for line := range strings.Lines(text) {
		line = escape.Replace(strings.TrimRight(line, "\n"))
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			line = `\&` + line
		}
		r.WriteString(line + "\n")
	}
}

// verbatim writes lines that roff does not fill.
func (r *roff) verbatim(lines ...string) {
	r.macro("PP")
	r.macro("nf")
	r.macro("RS", "4")
	r.text(strings.Join(lines, "\n"))
	r.macro("RE")
	r.macro("fi")
}

// item writes a paragraph under its subject.
func (r *roff) item(subject, text string) {
	r.macro("TP")
	r.macro("B", subject)
	r.text(text)
}

// page returns the manual page.
func page() string {
	r := &roff{}
	r.WriteString(".\\\" Made by go generate ./cmd/zigate-ota; a test compares it with the program.\n")
	r.macro("TH", "ZIGATE-OTA", "1", "", "zigate-ota", "User Commands")
	r.macro("nh") // a name with a hyphen at a line's end cannot be copied
	r.macro("SH", "NAME")
	r.text("zigate-ota - " + commandline.Summary)
	r.macro("SH", "SYNOPSIS")
	r.macro("B", "zigate-ota")
	r.text("[COMMAND] [ARGUMENTS] [FLAGS]")
	r.macro("SH", "DESCRIPTION")
	r.text("Without a command the service runs, configured by environment variables (see ENVIRONMENT).\n" +
		"It serves firmware images to the devices of a Zigbee network through a ZiGate dongle, is\n" +
		"commanded over MQTT, and reports there what it does.")
	r.macro("PP")
	r.text(commandline.DeviceNote)
	r.text("A flag may stand before or behind the arguments; behind -- there are only arguments.")
	r.commands()
	r.macro("SH", "EXIT STATUS")
	for _, status := range [][2]string{
		{"0", "It is done."},
		{"1", "It was refused, or failed."},
		{"2", "The command line or the configuration is wrong."},
		{"3", "The broker or the service cannot be reached."},
		{"4", "The time given with --timeout is over. What was asked for goes on."},
		{"130", "Ctrl-C. What was asked for goes on."},
	} {
		r.item(status[0], status[1])
	}

	r.environment()
	r.macro("SH", "SEE ALSO")
	r.text("mosquitto_pub(1), mosquitto_sub(1), systemd.exec(5)")
	return r.String()
}

// commands writes a section with a paragraph for each command, those that ask a running service in another
// one.
func (r *roff) commands() {
	r.macro("SH", "COMMANDS")
	commands := commandline.Commands()
	common := commonFlags(commands)
	asking := false
	for _, c := range commands {
		if c.Asking && !asking {
			asking = true
			r.macro("SH", "ASKING A RUNNING SERVICE")
			r.text(commandline.BrokerNote)
			r.macro("PP")
			r.text("All of these commands have the flags that stand here,\n" +
				"unless another meaning is given below.")
			for _, f := range common {
				r.flag(f)
			}
		}
		r.command(&c, common)
	}
}

// commonFlags returns the flags that all commands have which ask a running service. The first of those has
// no others.
func commonFlags(commands []commandline.Command) []commandline.Flag {
	first := slices.IndexFunc(commands, func(c commandline.Command) bool { return c.Asking })
	return commands[first].Flags
}

func (r *roff) flag(f commandline.Flag) {
	meaning := f.Meaning
	if f.Default != "" {
		meaning += " (default " + f.Default + ")"
	}
	r.item(f.Usage(), strings.ToUpper(meaning[:1])+meaning[1:]+".")
}

// command writes what there is about a command, but for the flags that were described before.
func (r *roff) command(c *commandline.Command, before []commandline.Flag) {
	r.macro("SS", c.Usage())
	r.text(strings.ToUpper(c.Summary[:1]) + c.Summary[1:] + ".")
	switch {
	case strings.Contains(c.Details, "\n  "): // it has columns
		r.verbatim(c.Details)
	case c.Details != "":
		r.macro("PP")
		r.text(c.Details)
	}
	for _, f := range c.Flags {
		if !c.Asking || !slices.Contains(before, f) {
			r.flag(f)
		}
	}
	if len(c.Examples) > 0 {
		examples := make([]string, len(c.Examples))
		for i, example := range c.Examples {
			examples[i] = "zigate-ota " + example
		}
		r.verbatim(examples...)
	}
}

// environment writes all variables of the configuration.
func (r *roff) environment() {
	r.macro("SH", "ENVIRONMENT")
	r.text("All variables are optional. An empty value is no value.")
	for _, v := range config.Describe() {
		if v.Heading != "" {
			r.macro("SS", v.Heading)
		}
		r.macro("TP")
		r.macro("B", v.Name)
		if v.File {
			r.macro("TQ")
			r.macro("B", v.Name+"_FILE")
		}
		r.text(v.Meaning)
		r.text("Allowed: " + v.Allowed + ".")
		switch {
		case v.Fallback != "":
			r.text("Default: " + v.Fallback + ".")
		case v.Default != "":
			r.text("Default: " + v.Default + ".")
		}
	}
}
