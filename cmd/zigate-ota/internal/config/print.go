package config

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// Print writes the configuration in force, one variable a line in the order in which they are documented,
// each with its source. Secrets are masked, and so are passwords and queries of URLs.
func (c Config) Print(w io.Writer) error {
	var b bytes.Buffer
	for _, s := range settingsOf(&c) {
		fmt.Fprintf(&b, "%s=%s  # %s\n", s.name, s.display(), c.source(s.name))
	}
	_, err := w.Write(b.Bytes())
	return err
}

// String returns what Print writes.
func (c Config) String() string {
	var b strings.Builder
	_ = c.Print(&b) // a Builder never fails
	return b.String()
}

// Format writes what Print writes, with any verb: %#v shows no secrets either.
func (c Config) Format(f fmt.State, _ rune) { _ = c.Print(f) }

// LogValue returns the variables that are set, one attribute each, masked as in Print.
func (c Config) LogValue() slog.Value {
	var attrs []slog.Attr
	for _, s := range settingsOf(&c) {
		if c.IsSet(s.name) {
			attrs = append(attrs, slog.String(s.name, s.display()))
		}
	}
	return slog.GroupValue(attrs...)
}

func (c Config) source(variable string) Source {
	if source, ok := c.sources[variable]; ok {
		return source
	}
	return SourceDefault
}

// IsSet reports whether the environment gives a variable a value, which may equal the default.
func (c Config) IsSet(variable string) bool { return c.source(variable) != SourceDefault }

// display returns the field's value as it would be set, masked where it is a secret.
func (s setting) display() string {
	switch v := s.field.Interface().(type) {
	case time.Duration:
		return shortDuration(v)
	case slog.Level:
		return strings.ToLower(v.String())
	default:
		return fmt.Sprint(v)
	}
}

// shortDuration returns a duration without the zeros at the end of its String: 24h, not 24h0m0s.
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Variable describes an environment variable for people.
type Variable struct {
	Name    string
	Heading string // begins a group of variables; empty within a group
	Meaning string // in sentences
	Allowed string // which values are allowed
	Default string // may be empty
	// Fallback describes in words a default that is found out at run time; empty where Default is the
	// default.
	Fallback string
	// File says that there is a twin with the suffix _FILE, which names a file with the value.
	File bool
}

// Describe lists all variables in the order in which they are documented.
func Describe() []Variable {
	var all []Variable
	for _, s := range settingsOf(&Config{}) {
		all = append(all, Variable{
			Name:     s.name,
			Heading:  s.tags.Get("heading"),
			Meaning:  s.tags.Get("desc"),
			Allowed:  s.allowed(),
			Default:  s.tags.Get("default"),
			Fallback: s.tags.Get("fallback"),
			File:     s.hasFile(),
		})
	}
	return all
}

// exampleWidth is the longest line of a comment in the example, in bytes.
const exampleWidth = 100

// WriteExample writes config.example.env: every variable with its meaning, the values that it allows and
// its default, commented out, as an environment file for systemd (EnvironmentFile=) and Docker (env_file:).
func WriteExample(w io.Writer) error {
	var b bytes.Buffer
	comment(&b, "Settings of zigate-ota, all optional. Those that stand here commented out are the "+
		"defaults. An empty "+
		"value is no value. What is in force, and where it comes from: zigate-ota config")
	comment(&b, "This file is generated (go generate ./cmd/zigate-ota); a test compares it with the program.")
	for _, v := range Describe() {
		b.WriteByte('\n')
		if v.Heading != "" {
			fmt.Fprintf(&b, "## %s\n\n", v.Heading)
		}
		comment(&b, v.Meaning)
		comment(&b, "Allowed: "+v.Allowed)
		if v.Fallback != "" {
			comment(&b, "Default: "+v.Fallback)
		}
		fmt.Fprintf(&b, "#%s=%s\n", v.Name, v.Default)
		if v.File {
			comment(&b, "Or a file that holds it, such as a Docker secret or a systemd credential:")
			fmt.Fprintf(&b, "#%s=\n", v.Name+fileSuffix)
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// comment writes the text as comment lines.
func comment(b *bytes.Buffer, text string) {
	line := "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > exampleWidth {
			fmt.Fprintln(b, line)
			line = "#"
		}
		line += " " + word
	}
	fmt.Fprintln(b, line)
}
