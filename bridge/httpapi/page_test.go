package httpapi_test

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/zigate-ota/zigate-ota/bridge/httpapi"
)

// pageFiles are the files of the page, by name.
func pageFiles(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS("page"), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		b, err := os.ReadFile(path.Join("page", name))
		all[name] = string(b)
		return err
	})
	if err != nil || len(all) < 10 {
		t.Fatalf("%d files, %v", len(all), err)
	}
	return all
}

// TestPageServed: every file of the page is served as what it is, under a policy that allows nothing from
// elsewhere and no script or style in the markup.
func TestPageServed(t *testing.T) {
	a := startAPI(t, func(o *httpapi.Options) { o.Token = token }) // reading needs none
	types := map[string]string{".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
	for name, content := range pageFiles(t) {
		got := a.call("GET", "/page/"+name, "")
		if kind := got.header.Get("Content-Type"); got.status != 200 || got.body != content || !strings.HasPrefix(kind, types[path.Ext(name)]) || kind == "" {
			t.Errorf("%s: status %d, %d bytes, type %q", name, got.status, len(got.body), kind)
		}
		policy := got.header.Get("Content-Security-Policy")
		for _, directive := range []string{"default-src 'none';", "script-src 'self';", "style-src 'self';", "connect-src 'self';", "frame-ancestors 'none';", "base-uri 'none';"} {
			if !strings.Contains(policy, directive) {
				t.Errorf("%s: no %s in the policy %q", name, directive, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || got.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: policy %q, X-Content-Type-Options %q", name, policy, got.header.Get("X-Content-Type-Options"))
		}
	}
	if got := a.call("GET", "/", ""); got.body != pageFiles(t)["main.html"] {
		t.Errorf("/ is something else: status %d, %.100s", got.status, got.body)
	}
	for _, name := range []string{"/page/", "/page/nothing.js", "/page/../openapi.json", "/page//main.html/"} {
		if got := a.call("GET", name, ""); got.status != 404 && got.status != 301 && got.status != 307 {
			t.Errorf("%s: status %d", name, got.status)
		}
	}
}

// TestPageIsSelfContained: nothing is loaded from anywhere else, nothing becomes markup, and what
// files name is there.
func TestPageIsSelfContained(t *testing.T) {
	files := pageFiles(t)
	foreign := regexp.MustCompile(`(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}`)
	markup := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|srcdoc|style=|onclick="|javascript:`)
	named := regexp.MustCompile(`(?:"page/|from "\./)([a-z.]+)(?:#[a-z$]+)?`)
	for name, content := range files {
		content = strings.ReplaceAll(content, "http://www.w3.org/", "")
		if found := foreign.FindString(content); found != "" {
			t.Errorf("%s names %s", name, found)
		}
		if found := markup.FindString(content); found != "" {
			t.Errorf("%s has %s", name, found)
		}
		for _, m := range named.FindAllStringSubmatch(content, -1) {
			if _, ok := files[m[1]]; !ok {
				t.Errorf("%s names %s, which is not there", name, m[1])
			}
		}
		if lines := strings.Count(content, "\n"); lines > 500 {
			t.Errorf("%s has %d lines", name, lines)
		}
	}
}
