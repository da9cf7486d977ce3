package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/config"
)

var documents = []string{"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"}

func document(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(root + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// Files that documents name are there, and hold what the documents say is in them.
func TestDocumentsNameFiles(t *testing.T) {
	quoted := regexp.MustCompile("`([^`\n]+)`")
	link := regexp.MustCompile(`\]\(([^)]+)\)`)
	placed := regexp.MustCompile("`([A-Za-z.]+)` in\\s`([^`]+\\.go)`")
	isPath := regexp.MustCompile(`^(cmd|bridge|otasvc|zigate|deploy|\.ci)(/[A-Za-z0-9_.*-]+)*$|^[A-Za-z0-9_.*-]+\.(go|md|yml|env)$`)
	for _, name := range documents {
		text := document(t, name)
		checked := 0
		for _, match := range quoted.FindAllStringSubmatch(text, -1) {
			path := match[1]
			if !isPath.MatchString(path) {
				continue
			}
			checked++
			found, _ := filepath.Glob(root + path)
			if len(found) == 0 && !strings.Contains(path, "/") {
				found, _ = filepath.Glob(path) // of this folder
			}
			if len(found) == 0 {
				t.Errorf("%s names %s, which is not there", name, path)
			}
		}
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(match[1], "://") {
				continue
			}
			checked++
			if _, err := os.Stat(root + match[1]); err != nil {
				t.Errorf("%s: a link leads nowhere: %v", name, err)
			}
		}
		for _, match := range placed.FindAllStringSubmatch(text, -1) {
			identifier := match[1][strings.LastIndex(match[1], ".")+1:]
			if !regexp.MustCompile(`\b` + identifier + `\b`).MatchString(document(t, match[2])) {
				t.Errorf("%s: there is no %s in %s", name, identifier, match[2])
			}
		}
		if checked < 5 {
			t.Errorf("%s: only %d files found in it: is it read at all?", name, checked)
		}
	}
}

// testSource is the text of all test files.
func testSource(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		text.Write(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// TestDocumentsNameTests: tests that documents name are there, and so are the packages whose tests they run.
func TestDocumentsNameTests(t *testing.T) {
	declared := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(testSource(t), -1) {
		declared[match[1]] = true
	}
	for _, name := range documents {
		text := document(t, name)
		for _, test := range regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(text, -1) {
			if !declared[test] {
				t.Errorf("%s names %s, which is not there", name, test)
			}
		}
		for _, command := range regexp.MustCompile(`(?m)\bgo (test|run|build|generate) .*$`).FindAllString(text, -1) {
			for _, folder := range regexp.MustCompile(`\./[a-z][a-z/-]*`).FindAllString(command, -1) {
				if files, _ := filepath.Glob(root + folder + "/*.go"); len(files) == 0 {
					t.Errorf("%s: %s: there is no package %s", name, command, folder)
				}
			}
		}
	}
}

// Every folder with Go files is in the plan of the house.
func TestArchitectureNamesFolders(t *testing.T) {
	text := document(t, "ARCHITECTURE.md")
	for _, top := range []string{"cmd", "bridge", "otasvc", "zigate"} {
		err := filepath.WalkDir(root+top, func(path string, entry os.DirEntry, err error) error {
			if err != nil || !entry.IsDir() {
				return err
			}
			if entry.Name() == "testdata" {
				return filepath.SkipDir
			}
			if files, _ := filepath.Glob(path + "/*.go"); len(files) > 0 && !strings.Contains(text, "\n| `"+strings.TrimPrefix(path, root)+"` |") {
				t.Errorf("%s is missing", path)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Variables that documents name are known, to the service or to its tests.
func TestDocumentsNameVariables(t *testing.T) {
	known := config.Variables()
	forTests := regexp.MustCompile(`os\.Getenv\("(ZIGATE_OTA_TEST_[A-Z]+)"\)`)
	for _, match := range forTests.FindAllStringSubmatch(testSource(t), -1) {
		known = append(known, match[1])
	}
	for _, name := range documents {
		for _, variable := range regexp.MustCompile(`ZIGATE_OTA_[A-Z_]+`).FindAllString(document(t, name), -1) {
			if !slices.Contains(known, variable) {
				t.Errorf("%s names %s, which the service does not know", name, variable)
			}
		}
	}
}

// Subcommands that the README runs or names are all that there are, and none is kept from the reader.
func TestReadmeNamesCommands(t *testing.T) {
	text := document(t, "README.md")
	for _, c := range commandline.Commands() {
		if c.Name == "serve" || c.Name == "version" { // the default, and what needs no word
			continue
		}
		if !regexp.MustCompile("(zigate-ota " + c.Name + "\\b|`" + c.Name + "`)").MatchString(text) {
			t.Errorf("says nothing of the command %s", c.Name)
		}
	}
}

// The README's table of operations is what the service answers when it is asked wrongly.
func TestReadmeNamesOperations(t *testing.T) {
	t.Parallel()
	s := serveHere(t, 1e6)
	wrong := func(operation, request string) string {
		text, _ := at(s.ask(operation, request).object(), "error").(string)
		return text
	}
	list := func(text, after string) []string {
		_, names, _ := strings.Cut(text, after)
		all := strings.Split(names, ", ")
		slices.Sort(all)
		return all
	}
	bold := regexp.MustCompile("\\*\\*`([A-Za-z0-9]+)`\\*\\*")
	key := regexp.MustCompile("`([A-Za-z0-9]+)`")
	var named []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (.*?) \\| (.*) \\|$").FindAllStringSubmatch(document(t, "README.md"), -1) {
		operation, keys := row[1], row[2]
		named = append(named, operation)
		want := []string{"transaction"}
		for _, match := range key.FindAllStringSubmatch(keys, -1) {
			want = append(want, match[1])
		}
		slices.Sort(want)
		// What is missing besides follows the list, after a semicolon.
		got := list(strings.Split(wrong(operation, `{"versoin":1}`)+"; ", "; ")[1], "allowed are ")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("keys of %s (-README +service):\n%s", operation, diff)
		}
		var required []string
		for _, match := range bold.FindAllStringSubmatch(keys, -1) {
			required = append(required, match[1])
		}
		if len(required) == 0 {
			continue
		}
		answer := wrong(operation, "{}")
		for _, name := range required {
			if !strings.Contains(answer, name) || !strings.Contains(answer, "required") {
				t.Errorf("%s without %s: %q", operation, name, answer)
			}
		}
	}
	slices.Sort(named)
	if diff := cmp.Diff(list(wrong("nothing", "{}"), "there are "), named); diff != "" {
		t.Errorf("operations (-service +README):\n%s", diff)
	}
}
