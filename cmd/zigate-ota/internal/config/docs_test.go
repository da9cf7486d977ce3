package config

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const configurationPath = "../../../../docs/configuration.md"

// docs/configuration.md is made of the struct: go generate ./cmd/zigate-ota
func TestConfigurationDocument(t *testing.T) {
	want := configurationDocument()
	if *update {
		if err := os.WriteFile(configurationPath, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(configurationPath)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/configuration.md is not current, run go generate ./cmd/zigate-ota (-want +got):\n%s", diff)
	}
}

// configurationDocument is the reference of all variables.
func configurationDocument() []byte {
	var b bytes.Buffer
	fmt.Fprint(&b, `# Configuration

Everything is set by environment variables, and nothing has to be. An empty value is no value. A name that does not
exist or a value that is not allowed keeps the service from starting, and it says which, all of them at once.

What is in force, and where each value comes from, is told without starting anything; secrets are masked:

`+"```sh\n./zigate-ota config\n```"+`

[config.example.env](../config.example.env) is a file with all of them commented out, for systemd's `+"`EnvironmentFile`"+`
and Docker's `+"`env_file`"+`. Both are made from the program by `+"`go generate ./cmd/zigate-ota`"+`, and compared with it by a test.
`)
	for _, v := range Describe() {
		if v.Heading != "" {
			fmt.Fprintf(&b, "\n## %s\n", v.Heading)
		}
		fmt.Fprintf(&b, "\n### `%s`\n\n%s\n\n", v.Name, markdown(v.Meaning))
		switch {
		case v.Fallback != "":
			fmt.Fprintf(&b, "- default: %s\n", markdown(v.Fallback))
		case v.Default == "":
			fmt.Fprint(&b, "- default: empty\n")
		default:
			fmt.Fprintf(&b, "- default: `%s`\n", v.Default)
		}
		fmt.Fprintf(&b, "- allowed: %s\n", markdown(v.Allowed))
		if v.File {
			fmt.Fprintf(&b, "- or `%s`: a file that holds it, such as a Docker secret or a systemd credential\n", v.Name+fileSuffix)
		}
	}
	return b.Bytes()
}

// markdown keeps a text from being taken for markup.
func markdown(text string) string {
	return strings.NewReplacer("<", "&lt;", "*", `\*`).Replace(text)
}
