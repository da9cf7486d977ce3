package shell

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/terminal"
)

// completeCommand is what the shells' completions call: its arguments are the words of the command line
// behind the program's name, the last one being the one to complete. It prints candidates, one a line, each
// with a tab and a description where there is one; ":file" asks for the names of files.
const completeCommand = "__complete"

// completionTimeout bounds how long a key press waits for a service that is not there.
const completionTimeout = 1500 * time.Millisecond

//go:embed completion/zigate-ota.bash
var bashCompletion string

//go:embed completion/zigate-ota.zsh
var zshCompletion string

//go:embed completion/zigate-ota.fish
var fishCompletion string

// completion prints what a shell reads at its start.
func completion(_ context.Context, c *invocation) error {
	script, ok := map[string]string{
		"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion,
	}[c.args[0]]
	if !ok {
		return failed(ExitUsage, "there is completion for bash, zsh and fish, not for %q", c.args[0])
	}
	_, err := io.WriteString(c.term, script)
	return err
}

// complete prints the candidates for the last word. It never says what is wrong: somebody is typing.
func complete(ctx context.Context, c *invocation) error {
	if len(c.args) == 0 {
		return nil
	}
	words := c.args[:len(c.args)-1]
	current := c.args[len(c.args)-1]
	for _, candidate := range c.candidates(ctx, words, current) {
		text, description, _ := strings.Cut(candidate, "\t")
		if text == fileNames || strings.HasPrefix(strings.ToLower(text), strings.ToLower(current)) {
			if description = terminal.Clean(description); description != "" {
				text += "\t" + description
			}
			fmt.Fprintln(c.term, text)
		}
	}
	return nil
}

// fileNames stands for the names of files.
const fileNames = ":file"

// candidates lists what may come behind words, with descriptions behind tabs.
func (c *invocation) candidates(ctx context.Context, words []string, current string) []string {
	if len(words) == 0 {
		return c.commandNames("help\thelp for the program or a command")
	}
	if words[0] == "help" {
		return c.commandNames()
	}
	for _, command := range Commands() {
		if command.Name == words[0] && !command.Hidden {
			return c.forCommand(ctx, &command, words[1:], current)
		}
	}
	for _, d := range c.call.Commands {
		if d.Name == words[0] {
			return append(slices.Clone(d.Flags), fileNames)
		}
	}
	return nil
}

func (c *invocation) commandNames(more ...string) []string {
	var names []string
	for _, d := range c.call.Commands {
		names = append(names, d.Name+"\t"+d.Summary)
	}
	return append(names, more...)
}

func (c *invocation) forCommand(
	ctx context.Context, command *Command, words []string, current string,
) []string {
	fs := command.flagSet(&c.flags)
	arguments, err := parse(fs, words)
	if err != nil && len(words) > 0 { // a flag that waits for its value
		switch strings.TrimLeft(words[len(words)-1], "-") {
		case "device":
			_, _ = parse(command.flagSet(&c.flags), words[:len(words)-1])
			return c.deviceNames(ctx)
		case "name":
			return eventNames()
		case "when":
			return []string{"now", "window"}
		case "apply":
			return []string{"now", "hold"}
		}
		return nil
	}
	if strings.HasPrefix(current, "-") {
		return command.flagNames()
	}
	switch {
	case command.takes == takesDevices, command.takes == takesDevice && len(arguments) == 0,
		command.takes == takesDeviceAndFile && len(arguments) == 0:
		return without(c.deviceNames(ctx), arguments)
	case command.takes == takesDevicesOrAll && len(arguments) == 0:
		return append(c.deviceNames(ctx), all+"\tevery device")
	case command.takes == takesDevicesOrAll:
		return without(c.deviceNames(ctx), arguments)
	case command.takes == takesDeviceAndFile && len(arguments) == 1:
		return []string{fileNames}
	case command.takes == takesShell && len(arguments) == 0:
		return []string{"bash", "zsh", "fish"}
	}
	return nil
}

func without(candidates, taken []string) []string {
	return slices.DeleteFunc(candidates, func(candidate string) bool {
		name, _, _ := strings.Cut(candidate, "\t")
		return slices.Contains(taken, name)
	})
}

// deviceNames asks the service for the names and EUIDs of its devices; nothing where it does
// not answer at once.
func (c *invocation) deviceNames(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	c.stderr = io.Discard
	s, err := c.open(ctx, wantsDevices)
	if err != nil {
		return nil
	}
	defer s.close()
	if s.gather(ctx) != nil {
		return nil
	}
	var names, euids []string
	for _, d := range s.devices.sorted() {
		model := ""
		if d.ModelID != nil {
			model = *d.ModelID
		}
		if d.named() && terminal.Clean(d.Name) == d.Name {
			names = append(names, d.Name+"\t"+model)
			model = d.Name + ", " + model
		}
		euids = append(euids, string(d.EUID)+"\t"+model)
	}
	return append(names, euids...)
}
