package config

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// Print writes what is in force, one variable a line in the order in which they are documented, each with
// where it comes from. Secrets are masked, and so are passwords and queries of URLs.
func (c Config) Print(w io.Writer) error {
	var b bytes.Buffer
	for _, s := range settingsOf(&c) {
		fmt.Fprintf(&b, "%s=%s  # %s\n", s.name, s.display(), c.source(s.name))
	}
	_, err := w.Write(b.Bytes())
	return err
}

// String is what Print writes.
func (c Config) String() string {
	var b strings.Builder
	_ = c.Print(&b) // a Builder takes everything
	return b.String()
}

// Format is what Print writes, whatever the verb: %#v shows no secrets either.
func (c Config) Format(f fmt.State, _ rune) { _ = c.Print(f) }

// LogValue is the variables that are set, one attribute each, masked as in Print.
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

// IsSet reports whether a variable was given a value, whatever that is.
func (c Config) IsSet(variable string) bool { return c.source(variable) != SourceDefault }

// display is the field's value as one would set it, masked where that is due.
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

// shortDuration is a duration without the zeros that its String ends with: 24h, not 24h0m0s.
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

// exampleWidth is where comments of the example are broken, in bytes.
const exampleWidth = 100

// WriteExample writes config.example.env: every variable with its meaning, what it allows and its default,
// commented out, as an environment file for systemd (EnvironmentFile=) and Docker (env_file:).
func WriteExample(w io.Writer) error {
	var b bytes.Buffer
	comment(&b, "Settings of zigate-ota, all optional. Those that stand here commented out are the "+
		"defaults. An empty "+
		"value is no value. What is in force, and where it comes from: zigate-ota config")
	comment(&b, "This file is generated (go generate ./cmd/zigate-ota); a test compares it with the program.")
	for _, s := range settingsOf(&Config{}) {
		b.WriteByte('\n')
		if heading := s.tags.Get("heading"); heading != "" {
			fmt.Fprintf(&b, "## %s\n\n", heading)
		}
		comment(&b, s.tags.Get("desc"))
		comment(&b, "Allowed: "+s.allowed())
		if fallback := s.tags.Get("fallback"); fallback != "" {
			comment(&b, "Default: "+fallback)
		}
		fmt.Fprintf(&b, "#%s=%s\n", s.name, s.tags.Get("default"))
		if s.hasFile() {
			comment(&b, "Or a file that holds it, such as a Docker secret or a systemd credential:")
			fmt.Fprintf(&b, "#%s=\n", s.name+fileSuffix)
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
