package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/kelseyhightower/envconfig"
)

// Source says where the value of a variable comes from.
type Source string

// Every source.
const (
	SourceDefault Source = "default"   // not set, or set to an empty string
	SourceSet     Source = "set"       // the variable is set
	SourceFile    Source = "set, file" // its _FILE twin names a file
)

// fileSuffix ends the name of a variable that names a file with the value.
const fileSuffix = "_FILE"

// maxSecretFile is the size of the largest file with a secret, in bytes. A larger one was named by mistake.
const maxSecretFile = 64 << 10

// A setting is one variable and the field that it sets.
type setting struct {
	name  string // with prefix
	field reflect.Value
	tags  reflect.StructTag
}

// settingsOf lists the settings of c in the order of its fields. The walk through the nested structs and the
// names are envconfig's, whose usage template is the one place where it shows them.
func settingsOf(c *Config) []setting {
	var all []setting
	walk := template.Must(template.New("").Funcs(template.FuncMap{
		"add": func(name string, field reflect.Value, tags reflect.StructTag) string {
			all = append(all, setting{name, field, tags})
			return ""
		},
	}).Parse(`{{range .}}{{add .Key .Field .Tags}}{{end}}`))
	if err := envconfig.Usaget(envPrefix, c, io.Discard, walk); err != nil {
		// The template does not fit envconfig: a mistake in the program.
		panic("listing the settings of Config: " + err.Error())
	}
	return all
}

// hasFile reports whether the setting has a _FILE twin.
func (s setting) hasFile() bool { return s.tags.Get("file") == "true" }

// words lists the words that are allowed. It returns nil where the setting is no choice of words.
func (s setting) words() []string {
	if list := s.tags.Get("oneof"); list != "" {
		return strings.Split(list, ",")
	}
	return nil
}

// set checks the text and decodes it into the field.
//
// envconfig gets one variable at a time, as the default of a struct with one field. Otherwise it would read
// the process's environment, stop at the first mistake, take an empty string for a value and put values
// into its errors.
func (s setting) set(text string) error {
	if secret, ok := s.field.Addr().Interface().(*Secret); ok {
		return secret.Decode(text) // not through a type's tag, which stays in memory and shows in dumps
	}
	if words := s.words(); words != nil {
		if text = strings.ToLower(text); !slices.Contains(words, text) {
			return fmt.Errorf("%q is not a known value", text)
		}
	}

	if s.field.CanInt() && s.field.Type() != reflect.TypeFor[time.Duration]() {
		n, err := strconv.ParseInt(text, 10, 64)
		if (err != nil || strconv.FormatInt(n, 10) != text) && s.words() == nil {
			return fmt.Errorf("%q is not a whole number", text) // envconfig would take 010 for 8
		}
	}

	one := reflect.New(reflect.StructOf([]reflect.StructField{{
		Name: "Value",
		Type: s.field.Type(),
		Tag:  reflect.StructTag("default:" + strconv.Quote(text)),
	}}))
	// No variable has an equals sign in its name.
	if err := envconfig.Process("=", one.Interface()); err != nil {
		return s.explain(text, err)
	}

	value := one.Elem().Field(0)
	if err := s.checkRange(text, value); err != nil {
		return err
	}
	s.field.Set(value)
	return nil
}

// explain returns the field's own error, without envconfig's text, or a plain text for a basic type.
func (s setting) explain(text string, err error) error {
	var parse *envconfig.ParseError
	switch _, own := s.field.Addr().Interface().(envconfig.Decoder); {
	case own && errors.As(err, &parse):
		return parse.Err
	case s.field.Type() == reflect.TypeFor[time.Duration]():
		return fmt.Errorf("%q is not a duration", text)
	case s.field.Kind() == reflect.Bool:
		return fmt.Errorf("%q is neither true nor false", text)
	default:
		return fmt.Errorf("%q is not understood", text)
	}
}

// checkRange compares numbers and durations with the tags min and max.
func (s setting) checkRange(text string, value reflect.Value) error {
	if s.tags.Get("min") == "" {
		return nil
	}
	low := s.bound("min")
	high := s.bound("max")
	switch n := value.Int(); {
	case n < low:
		return fmt.Errorf("%s is too small", text)
	case n > high:
		return fmt.Errorf("%s is too large", text)
	}
	return nil
}

func (s setting) bound(tag string) int64 {
	text := s.tags.Get(tag)
	if s.field.Type() == reflect.TypeFor[time.Duration]() {
		d, err := time.ParseDuration(text)
		if err != nil {
			panic(s.name + ": tag " + tag + ": " + err.Error())
		}
		return int64(d)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(s.name + ": tag " + tag + ": " + err.Error())
	}
	return n
}

// allowed returns in words what the setting takes.
func (s setting) allowed() string {
	low := s.tags.Get("min")
	high := s.tags.Get("max")
	switch {
	case s.tags.Get("allowed") != "":
		return s.tags.Get("allowed")
	case s.words() != nil:
		return strings.Join(s.words(), ", ")
	case s.field.Kind() == reflect.Bool:
		return "true, false"
	case s.field.Type() == reflect.TypeFor[time.Duration]():
		return fmt.Sprintf("a duration such as 90s or 1h30m, from %s to %s", low, high)
	default:
		return fmt.Sprintf("a whole number from %s to %s", low, high)
	}
}

// environment has the variables of a process, without empty ones.
type environment map[string]string

func newEnvironment(entries []string) environment {
	env := make(environment, len(entries))
	seen := make(map[string]bool, len(entries))
	for _, entry := range entries {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || seen[name] {
			continue
		}
		seen[name] = true
		if strings.TrimSpace(value) != "" {
			env[name] = value
		}
	}
	return env
}

// text returns the text of the setting: that of its variable, else that of the file which its twin names,
// else its default, which may be empty. Space around a value is not part of it, except in a secret.
func (env environment) text(s setting) (string, Source, error) {
	value, set := env[s.name]
	if path, ok := env[s.name+fileSuffix]; ok && s.hasFile() {
		if set {
			return "", SourceFile, fmt.Errorf("set, and so is %s: only one of them may be", s.name+fileSuffix)
		}
		value, err := readSecret(strings.TrimSpace(path))
		return value, SourceFile, err
	}
	switch {
	case !set:
		return s.tags.Get("default"), SourceDefault, nil
	case s.hasFile():
		return value, SourceSet, nil
	default:
		return strings.TrimSpace(value), SourceSet, nil
	}
}

// readSecret returns the content of a file without the line ends at its end.
func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("its file cannot be opened: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	content, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return "", fmt.Errorf("its file cannot be read: %w", err)
	}
	if len(content) > maxSecretFile {
		return "", fmt.Errorf("its file %s is larger than %d bytes", path, maxSecretFile)
	}
	content = bytes.TrimRight(content, "\r\n")
	if len(content) == 0 {
		return "", fmt.Errorf("its file %s is empty", path)
	}
	return string(content), nil
}

// stateDir returns the folder for state where none is set: systemd's (the first of a list), else the
// user's. It is empty where the environment names neither.
func (env environment) stateDir() string {
	if first, _, _ := strings.Cut(env["STATE_DIRECTORY"], ":"); first != "" {
		return first
	}
	// The XDG specification says that relative paths are ignored.
	if home := env["XDG_STATE_HOME"]; filepath.IsAbs(home) {
		return filepath.Join(home, "zigate-ota")
	}
	if home := env["HOME"]; filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "zigate-ota")
	}
	return ""
}

// unknown lists the variables that have the service's prefix and do not exist. Most are typing errors,
// which would otherwise leave a default in force unnoticed.
func (env environment) unknown(settings []setting) []error {
	known := knownVariables(settings)
	var strangers []string
	for name := range env {
		if strings.HasPrefix(name, envPrefix+"_") && !slices.Contains(known, name) {
			strangers = append(strangers, name)
		}
	}
	slices.Sort(strangers)
	var errs []error
	for _, name := range strangers {
		nearest := slices.MinFunc(known, func(a, b string) int {
			return editDistance(name, a) - editDistance(name, b)
		})
		hint := ""
		if kubernetesLink(strings.TrimPrefix(name, envPrefix+"_")) {
			hint = " (Kubernetes sets this one for a Service named zigate-ota, " +
				"unless enableServiceLinks is false)"
		}
		errs = append(errs,
			fmt.Errorf("%s: there is no such variable; the nearest name is %s%s", name, nearest, hint))
	}
	return errs
}

// kubernetesLink reports whether the name, without prefix, is one that Kubernetes puts into every container
// of a namespace for each of its Services.
func kubernetesLink(name string) bool {
	return name == "PORT" || name == "SERVICE_HOST" || strings.HasPrefix(name, "PORT_") ||
		strings.HasPrefix(name, "SERVICE_PORT")
}

// Variables lists the names of all variables of the service, _FILE twins included, in the order in which
// they are documented.
func Variables() []string { return knownVariables(settingsOf(&Config{})) }

// knownVariables lists the names that may be set, _FILE twins included, each in its place.
func knownVariables(settings []setting) []string {
	var names []string
	for _, s := range settings {
		names = append(names, s.name)
		if s.hasFile() {
			names = append(names, s.name+fileSuffix)
		}
	}
	return names
}

// editDistance returns the number of bytes to insert, delete or replace to make a from b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
