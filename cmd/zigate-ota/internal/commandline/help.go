package commandline

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Notes that stand in the help of many commands, and once in the manual page.
const (
	DeviceNote = "A DEVICE is named by its EUID (0x000b57fffec6a5b2), its network address (0x4f4f)\n" +
		"or its name."
	CodesNote = "Exit codes: 0 done, 1 refused or failed, 2 usage, 3 broker or service not reachable,\n" +
		"4 the time given with --timeout is over, 130 interrupted."
	BrokerNote = "The broker, its user and password are those of the service: ZIGATE_OTA_MQTT_URL,\n" +
		"..._USERNAME, ..._PASSWORD, ..._BASE_TOPIC; without them the service's own broker on this\n" +
		"machine."
)

// Command describes a command for people.
type Command struct {
	Name      string
	Arguments string // as they stand behind the name
	Summary   string // in a few words, without a full stop
	Details   string // more text, in lines; may be empty
	Examples  []string
	Flags     []Flag // in the order of their names
	// Asking says that the command asks a running service.
	Asking bool
}

// Flag describes a flag for people.
type Flag struct {
	Name    string // without the dashes
	Value   string // the name of its value, such as FILE; empty where it takes none
	Meaning string
	Default string // empty for zero values, which need no mention
}

// Summary says what the program does, without its name.
const Summary = "upgrades the firmware of Zigbee devices through a ZiGate, commanded over MQTT"

// Commands lists all commands in the order of the help, those that ask a running service behind the others.
func Commands() []Command {
	var all []Command
	for _, cmd := range newGrammar(Program{}).commands {
		all = append(all, describe(cmd))
	}
	return all
}

// describe returns what the help and the manual page say about a command.
func describe(cmd *cobra.Command) Command {
	d := Command{
		Name:      cmd.Name(),
		Arguments: argumentsOf(cmd),
		Summary:   cmd.Short,
		Details:   cmd.Long,
		Asking:    cmd.GroupID == groupAsking,
	}
	if cmd.Example != "" {
		d.Examples = strings.Split(cmd.Example, "\n")
	}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" { // every command has this flag
			return
		}
		d.Flags = append(d.Flags, Flag{
			Name:    f.Name,
			Value:   valueOf(f),
			Meaning: f.Usage,
			Default: defaultOf(f),
		})
	})
	return d
}

// Usage returns how the command is called, without the program's name. It shows [flags] where the arguments
// do not list the flags.
func (c *Command) Usage() string {
	line := strings.TrimSpace(c.Name + " " + c.Arguments)
	if len(c.Flags) > 0 && !strings.Contains(line, "--") {
		line += " [flags]"
	}
	return line
}

// TakesDevice reports whether a DEVICE stands among the command's arguments.
func (c *Command) TakesDevice() bool { return strings.Contains(c.Arguments, "DEVICE") }

// Usage returns the flag with its dashes and the name of its value.
func (f *Flag) Usage() string { return strings.TrimSpace("--" + f.Name + " " + f.Value) }

// helpCommand returns the command "help", which takes the name of a command or nothing.
func (g *grammar) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "help [COMMAND]",
		Short:             "help for the program or a command",
		ValidArgsFunction: g.completesCommands,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				g.overview(g.program.Stdout)
				return nil
			}
			cmd := g.find(args[0])
			if cmd == nil {
				return g.unknown(args[0])
			}
			g.help(cmd, nil)
			return nil
		},
	}
}

// help writes what --help shows.
func (g *grammar) help(cmd *cobra.Command, _ []string) {
	if g.find(cmd.Name()) == nil {
		g.overview(g.program.Stdout)
		return
	}
	d := describe(cmd)
	d.help(g.program.Stdout)
}

// overview writes the help for the program: a line for every command, and its arguments below.
func (g *grammar) overview(w io.Writer) {
	fmt.Fprintf(w, "%s %s.\n\nUsage: %s [command]\n\n", programName, Summary, programName)
	asking := false
	for _, cmd := range g.commands {
		d := describe(cmd)
		if d.Asking && !asking {
			asking = true
			fmt.Fprint(w, "\nAsking a running service:\n\n")
		}
		fmt.Fprintf(w, "  %-12s %s\n", d.Name, d.Summary)
		if d.Arguments != "" {
			fmt.Fprintf(w, "  %-12s   %s\n", "", d.Arguments)
		}
	}
	fmt.Fprint(w, "\n\"zigate-ota help COMMAND\" tells more. "+
		"The configuration is in environment variables;\n"+
		"\"zigate-ota config --example\" lists them all.\n")
}

// help writes the help for one command.
func (c *Command) help(w io.Writer) {
	fmt.Fprintf(w, "%s %s: %s.\n\n", programName, c.Name, c.Summary)
	fmt.Fprintf(w, "Usage: %s %s\n", programName, c.Usage())
	if c.TakesDevice() {
		fmt.Fprintf(w, "\n%s\n", DeviceNote)
	}
	if c.Details != "" {
		fmt.Fprintf(w, "\n%s\n", c.Details)
	}
	c.helpFlags(w)
	if len(c.Examples) > 0 {
		fmt.Fprint(w, "\nExamples:\n")
	}
	for _, example := range c.Examples {
		fmt.Fprintf(w, "  %s %s\n", programName, example)
	}
	if c.Asking {
		fmt.Fprintf(w, "\n%s\n\n%s\n", CodesNote, BrokerNote)
	}
}

// helpFlags writes the flags of a command below each other.
func (c *Command) helpFlags(w io.Writer) {
	if len(c.Flags) == 0 {
		return
	}
	widest := 0
	for _, f := range c.Flags {
		widest = max(widest, len(f.Usage()))
	}
	fmt.Fprint(w, "\nFlags:\n")
	for _, f := range c.Flags {
		meaning := f.Meaning
		if f.Default != "" {
			meaning += " (default " + f.Default + ")"
		}
		fmt.Fprintf(w, "  %-*s  %s\n", widest, f.Usage(), meaning)
	}
}
