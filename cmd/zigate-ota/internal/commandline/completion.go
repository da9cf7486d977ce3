package commandline

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/shell"
)

// completion returns the command that prints the completion script for a shell.
func (g *grammar) completion() *cobra.Command {
	scripts := map[string]func(io.Writer) error{
		"bash": func(w io.Writer) error { return g.root.GenBashCompletionV2(w, true) },
		"zsh":  g.root.GenZshCompletion,
		"fish": func(w io.Writer) error { return g.root.GenFishCompletion(w, true) },
	}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "print the completion of commands and devices for a shell",
		Long: "bash: install the package bash-completion, and add to ~/.bashrc\n" +
			"      source <(zigate-ota completion bash)\n" +
			"zsh:  add to ~/.zshrc, behind compinit\n" +
			"      source <(zigate-ota completion zsh)\n" +
			"fish: add to ~/.config/fish/config.fish\n" +
			"      zigate-ota completion fish | source",
		Args:      arguments(1, 1),
		ValidArgs: []cobra.Completion{"bash", "zsh", "fish"},
		RunE: func(_ *cobra.Command, args []string) error {
			script, known := scripts[args[0]]
			if !known {
				return &UsageError{
					fmt.Errorf("there is completion for bash, zsh and fish, not for %q", args[0]),
				}
			}
			return script(g.program.Stdout)
		},
	}
}

// files completes the names of files.
func files(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

// words completes an argument, or the value of a flag, with those of the words that begin with what is typed.
func words(all ...string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var fitting []cobra.Completion
		for _, word := range all {
			if strings.HasPrefix(word, begun) {
				fitting = append(fitting, word)
			}
		}
		return fitting, cobra.ShellCompDirectiveNoFileComp
	}
}

// completesFlag says how the value of a flag is completed. The flag has to be there.
func completesFlag(cmd *cobra.Command, flag string, complete cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
		panic(err) // the flag is missing: a mistake in the program
	}
}

// completesFiles says that the values of flags are files.
func completesFiles(cmd *cobra.Command, flags ...string) {
	for _, flag := range flags {
		completesFlag(cmd, flag, files)
	}
}

// completesWords says which words complete the value of a flag; others may be allowed too.
func completesWords(cmd *cobra.Command, flag string, usual ...string) {
	completesFlag(cmd, flag, words(usual...))
}

// completesCommands completes the names of commands, for help.
func (g *grammar) completesCommands(_ *cobra.Command, args []string, begun string) (
	[]cobra.Completion, cobra.ShellCompDirective,
) {
	var names []cobra.Completion
	for _, cmd := range g.commands {
		if len(args) == 0 && strings.HasPrefix(cmd.Name(), begun) {
			names = append(names, cobra.CompletionWithDesc(cmd.Name(), cmd.Short))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// deviceArguments are the arguments of a command that names devices.
type deviceArguments int

const (
	anyDevices       deviceArguments = iota
	anyDevicesOrAll                  // any devices, or "all"
	oneDevice                        // the first one is a device, the others are something else
	oneDeviceAndFile                 // the first one is a device, the second one a file
)

// completesDevices completes arguments with the names and EUIDs of the service's devices. It asks the
// service that the flags before name; there are no candidates where no service answers.
func (g *grammar) completesDevices(o *shell.Options, takes deviceArguments) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) (
		[]cobra.Completion, cobra.ShellCompDirective,
	) {
		switch {
		case takes == oneDeviceAndFile && len(args) == 1:
			return nil, cobra.ShellCompDirectiveDefault
		case (takes == oneDevice || takes == oneDeviceAndFile) && len(args) > 0:
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		call := g.program.Shell
		call.Stderr = io.Discard // a message would stand in the middle of what is typed
		names := shell.New(call, *o).DeviceNames(cmd.Context())
		if takes == anyDevicesOrAll && len(args) == 0 {
			names = append(names, shell.DeviceName{Name: shell.All, Description: "every device"})
		}
		var candidates []cobra.Completion
		for _, n := range names {
			taken := slices.Contains(args, n.Name)
			if !taken && strings.HasPrefix(strings.ToLower(n.Name), strings.ToLower(begun)) {
				candidates = append(candidates, cobra.CompletionWithDesc(n.Name, n.Description))
			}
		}
		return candidates, cobra.ShellCompDirectiveNoFileComp
	}
}
