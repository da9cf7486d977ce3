package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/config"
)

// deployFiles returns the files that people deploy the service with, by their path from the root
// of the repository.
func deployFiles(t *testing.T) map[string]string {
	t.Helper()
	files := make(map[string]string)
	add := func(path string) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(path, "../../")] = string(content)
	}
	add("../../docker-compose.yml")
	add("../../config.example.env")
	err := filepath.WalkDir("../../deploy", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			add(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A variable that the service does not know would keep it from starting.
func TestDeployedVariablesAreKnown(t *testing.T) {
	known := config.Variables()
	variable := regexp.MustCompile(`ZIGATE_OTA_[A-Za-z0-9_]+`)
	mentioned := make(map[string]bool)
	for path, content := range deployFiles(t) {
		for _, name := range variable.FindAllString(content, -1) {
			mentioned[path] = true
			if !slices.Contains(known, name) {
				t.Errorf("%s names %s, which the service does not know", path, name)
			}
		}
	}
	for _, path := range []string{"docker-compose.yml", "config.example.env", "deploy/docker/Dockerfile", "deploy/systemd/zigate-ota.service"} {
		if !mentioned[path] {
			t.Errorf("%s names no variable: is it read at all?", path)
		}
	}
}

// The values in docker-compose.yml and the Dockerfile are taken, too.
func TestDeployedValuesAreTaken(t *testing.T) {
	setting := regexp.MustCompile(`(?m)^[ \t]*(?:ENV )?(ZIGATE_OTA_[A-Z_]+)(?:: |=)"?([^"\s]*)"?(?: \\)?$`)
	for _, path := range []string{"docker-compose.yml", "deploy/docker/Dockerfile"} {
		var environ []string
		for _, match := range setting.FindAllStringSubmatch(deployFiles(t)[path], -1) {
			if value := match[2]; !strings.HasPrefix(value, "${") {
				environ = append(environ, match[1]+"="+value)
			}
		}
		if len(environ) < 2 {
			t.Errorf("%s sets %q: is it read at all?", path, environ)
		}
		if _, err := config.Load(append(environ, home...)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// The example can be used as it is, and with everything in it taken in.
func TestExampleIsTaken(t *testing.T) {
	var environ []string
	for line := range strings.Lines(deployFiles(t)["config.example.env"]) {
		if entry, ok := strings.CutPrefix(strings.TrimSpace(line), "#ZIGATE_OTA_"); ok {
			environ = append(environ, "ZIGATE_OTA_"+entry)
		}
	}
	if got, want := len(environ), len(config.Variables()); got != want {
		t.Errorf("the example has %d variables, the service %d", got, want)
	}
	if got, want := withoutSources(load(t, environ...)), withoutSources(load(t)); got != want {
		t.Errorf("the example is not the default:\n%s\nwant\n%s", got, want)
	}
}

func withoutSources(c config.Config) string {
	return regexp.MustCompile(`  # .*`).ReplaceAllString(c.String(), "")
}

// home is an environment with nothing but what a shell has.
var home = []string{"HOME=/home/user", "PATH=/usr/bin"}

func load(t *testing.T, entries ...string) config.Config {
	t.Helper()
	c, err := config.Load(append(entries, home...))
	if err != nil {
		t.Fatalf("Load(%q): %v", entries, err)
	}
	return c
}
