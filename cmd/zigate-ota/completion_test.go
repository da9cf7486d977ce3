package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
)

// bashCompletion is what the completion of bash is built upon, the package bash-completion.
const bashCompletion = "/usr/share/bash-completion/bash_completion"

// Whole command lines, typed into real shells with the Tab key: what the shell makes of them is carried out,
// and its output is what the whole names would have given.
func TestCompletionInShells(t *testing.T) {
	onLinux(t)
	t.Parallel()
	s := serveHere(t, 2000)
	s.settle()
	url := s.app.brokerURLs()[0]
	u := &shellUser{t, []string{"ZIGATE_OTA_MQTT_URL=" + url}}
	u.run(commandline.ExitOK, "rename", kitchen, `Kitchen $bulb's "best"`)
	u.run(commandline.ExitOK, "rename", plug, "Socket")

	shells := map[string]struct {
		args  []string
		setup []string
	}{
		"bash": {[]string{"--noprofile", "--norc", "-i"}, []string{"bind 'set enable-bracketed-paste off'", "source " + bashCompletion, "source <(zigate-ota completion bash)"}},
		"zsh":  {[]string{"-f", "-i"}, []string{"unsetopt zle_bracketed_paste prompt_sp", "autoload -U compinit; compinit -D", "source <(zigate-ota completion zsh)"}},
		"fish": {[]string{"--no-config", "-i"}, []string{"zigate-ota completion fish | source"}},
	}
	lines := []struct{ typed, want string }{
		{"zigate-ota vers\t\n", "zigate-ota test"},
		{"zigate-ota dev\tKit\t\n", "image type         0x2201"},
		{"zigate-ota devices --json Soc\t\n", `"modelId":"LOM001"`},
		{"zigate-ota devices 0x00124\t\n", "model              SNZB-03P"},
		{"zigate-ota add-image Socket ./plug\t\n", "add-image: Socket: "},
	}
	for name, sh := range shells {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := tool(t, name)
			if _, err := os.Stat(bashCompletion); name == "bash" && err != nil {
				notInstalled(t, "bash-completion")
			}
			dir := t.TempDir()
			if err := os.Symlink(programPath(t), filepath.Join(dir, "zigate-ota")); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "plug firmware.ota"), []byte("no image"), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(path, sh.args...)
			cmd.Dir = dir
			cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + dir, "TERM=xterm", "LC_ALL=C.UTF-8", "PS1=ready> ", "ZIGATE_OTA_MQTT_URL=" + url}
			typed, shown := onTerminal(t, cmd)
			types := func(keys, want string) {
				t.Helper()
				before := len(shown())
				if _, err := typed.WriteString(keys); err != nil {
					t.Fatal(err)
				}
				awaits(t, fmt.Sprintf("%q after %q", want, keys), shown, func(text string) bool { return strings.Contains(text[before:], want) })
			}
			types(strings.Join(sh.setup, "\n")+"\necho set''up\n", "setup")
			for _, line := range lines {
				types(line.typed, line.want)
			}
		})
	}
}
