// Package zigateota_test holds the source to the project's own rules: which package may know which, and that
// nothing happens behind a caller's back.
package zigateota_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/zigate-ota/zigate-ota"

// layers are the folders from the top to the bottom. A package may import its own layer and those below.
var layers = []string{"cmd", "bridge", "otasvc", "zigate"}

// rooms are folders inside a layer whose packages import nothing of the project but what stands here, so that they
// can be read, tested and used by themselves.
var rooms = map[string][]string{
	"bridge/contract":    nil,
	"bridge/mqttclient":  {"bridge/broker"}, // for tests, as its broker
	"otasvc/acceptance":  nil,
	"otasvc/admission":   {"otasvc/blocks", "otasvc/upgrade"},
	"otasvc/background":  nil,
	"otasvc/blocks":      {"zigate/message"},
	"otasvc/concurrency": nil,
	"otasvc/fetching":    {"otasvc/library"},
	"otasvc/library":     {"otasvc/otafile", "otasvc/wholefile"},
	"otasvc/needs":       {"otasvc/otafile"},
	"otasvc/otafile":     nil,
	"otasvc/queue":       {"otasvc/slot"},
	"otasvc/registry":    {"otasvc/library", "otasvc/needs", "zigate/message"},
	"otasvc/sending":     {"zigate/mailbox", "zigate/message"},
	"otasvc/slot":        {"zigate/message"},
	"otasvc/statefile":   {"otasvc/wholefile"},
	"otasvc/upgrade":     {"zigate/message"},
	"otasvc/wholefile":   nil,
	"zigate/mailbox":     nil,
	"zigate/message":     nil,
	"zigate/terminal":    nil,

	"cmd/zigate-ota/internal/config":   {"bridge/mqttclient"},
	"cmd/zigate-ota/internal/terminal": nil,
}

// forTests are packages that test files alone may import: what they do is in no program.
var forTests = []string{"bridge/homeassistant/schema"}

// homes says where in the project (folders) a foreign package may be used, its subpackages included. What is
// not listed may be used everywhere. Test files are free, but for the project's own packages.
var homes = map[string][]string{
	"net/http":                             {"cmd/", "bridge/", "otasvc/library/"},
	"github.com/eclipse/paho.mqtt.golang":  {"cmd/", "bridge/mqttclient/"},
	"github.com/mochi-mqtt/server/v2":      {"bridge/broker/"},
	"github.com/prometheus":                {"cmd/", "bridge/"},
	"github.com/kelseyhightower/envconfig": {"cmd/zigate-ota/internal/config/"},
	"github.com/spf13/cobra":               {"cmd/zigate-ota/internal/commandline/"},
	"github.com/spf13/pflag":               {"cmd/zigate-ota/internal/commandline/"},
	"go.bug.st/serial":                     {"zigate/"},
	"github.com/creack/pty":                {"cmd/", "zigate/"},
	"github.com/fsnotify/fsnotify":         {"otasvc/library/"},
	"golang.org/x/text":                    {"otasvc/registry/"},
	"github.com/getkin/kin-openapi":        {}, // tests compare what HTTP answers with openapi.json
	"expvar":                               {}, // registers itself with the default HTTP handler
	"net/http/pprof":                       {}, // registers itself there, too
}

// globals are the package-level doors to state that is shared by the whole process.
var globals = map[string][]string{
	"github.com/prometheus/client_golang/prometheus": {
		"DefaultRegisterer", "DefaultGatherer", "Register", "MustRegister", "Unregister",
	},
	"github.com/prometheus/client_golang/prometheus/promauto": {
		"NewCounter", "NewCounterVec", "NewCounterFunc", "NewGauge", "NewGaugeVec", "NewGaugeFunc",
		"NewHistogram", "NewHistogramVec", "NewSummary", "NewSummaryVec", "NewUntypedFunc",
	},
	"github.com/prometheus/client_golang/prometheus/promhttp": {"Handler", "InstrumentMetricHandler"},
	"net/http": {"DefaultServeMux", "Handle", "HandleFunc", "ListenAndServe", "ListenAndServeTLS"},
}

// Every Go file of the project keeps the rules.
func TestLayers(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		files++
		broken, err := breaches(filepath.ToSlash(name), nil)
		for _, b := range broken {
			t.Errorf("%s: %s", name, b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 2 {
		t.Errorf("found %d Go files: the test does not run at the root of the repository", files)
	}
}

// The rules find what breaks them.
func TestBreaches(t *testing.T) {
	tests := []struct {
		name string
		body string // after the package clause
		want string // "" for none
	}{
		{"cmd/x/main.go", `import _ "` + module + `/bridge"`, ""},
		{"bridge/a.go", `import _ "` + module + `/otasvc"`, ""},
		{"bridge/httpapi/a.go", `import _ "` + module + `/zigate/sim"`, ""},
		{"zigate/a.go", `import _ "` + module + `/zigate/sim"`, ""},
		{"zigate/a_test.go", `import _ "net/http/httptest"`, ""},
		{"otasvc/a.go", `import _ "` + module + `/bridge"`, "imports " + module + "/bridge, which is in a layer above"},
		{"otasvc/a.go", `import _ "` + module + `/bridge/broker"`, "imports " + module + "/bridge/broker, which is in a layer above"},
		{"otasvc/a_test.go", `import _ "` + module + `/bridge"`, "imports " + module + "/bridge, which is in a layer above"},
		{"zigate/sim/a.go", `import _ "` + module + `/otasvc/otafile"`, "imports " + module + "/otasvc/otafile, which is in a layer above"},
		{"zigate/a.go", `import _ "` + module + `/cmd/zigate-ota"`, "imports " + module + "/cmd/zigate-ota, which is in a layer above"},
		{"util/a.go", "", "is in no layer of cmd, bridge, otasvc, zigate"},
		{"otasvc/a.go", `import _ "` + module + `/util"`, "imports " + module + "/util, which is in no layer"},
		{"zigate/message/a.go", `import _ "` + module + `/zigate/sim"`, "imports " + module + "/zigate/sim, but is to import nothing of the project"},
		{"otasvc/otafile/a.go", `import _ "` + module + `/zigate"`, "imports " + module + "/zigate, but is to import nothing of the project"},
		{"otasvc/otafile/a_test.go", `import _ "` + module + `/otasvc/otafile"`, ""},
		{"otasvc/slot/a.go", `import _ "` + module + `/zigate/message"`, ""},
		{"otasvc/slot/a_test.go", `import _ "` + module + `/otasvc/slot"`, ""},
		{
			"otasvc/slot/a.go", `import _ "` + module + `/otasvc/library"`,
			"imports " + module + "/otasvc/library, but is to import only zigate/message of the project",
		},
		{
			"otasvc/upgrade/a.go", `import _ "` + module + `/otasvc/slot"`,
			"imports " + module + "/otasvc/slot, but is to import only zigate/message of the project",
		},
		{"otasvc/blocks/a.go", `import _ "` + module + `/zigate/message"`, ""},
		{"otasvc/blocks/a.go", `import _ "` + module + `/zigate"`, "imports " + module + "/zigate, but is to import only zigate/message of the project"},
		{"otasvc/sending/a.go", `import _ "` + module + `/otasvc"`, "imports " + module + "/otasvc, but is to import only zigate/mailbox and zigate/message of the project"},
		{"otasvc/a.go", `import _ "net/http"`, "imports net/http, which is for cmd/, bridge/, otasvc/library/ only"},
		{"otasvc/library/a.go", `import _ "net/http"`, ""},
		{"otasvc/libraryx/a.go", `import _ "net/http"`, "imports net/http, which is for cmd/, bridge/, otasvc/library/ only"},
		{"zigate/a.go", `import _ "net/http/httptrace"`, "imports net/http/httptrace, which is for cmd/, bridge/, otasvc/library/ only"},
		{"zigate/a.go", `import _ "github.com/prometheus/client_golang/prometheus"`, "imports github.com/prometheus/client_golang/prometheus, which is for cmd/, bridge/ only"},
		{"bridge/mqttclient/a.go", `import _ "github.com/eclipse/paho.mqtt.golang/packets"`, ""},
		{"bridge/a.go", `import _ "github.com/eclipse/paho.mqtt.golang"`, "imports github.com/eclipse/paho.mqtt.golang, which is for cmd/, bridge/mqttclient/ only"},
		{"cmd/zigate-ota/a.go", `import _ "github.com/kelseyhightower/envconfig"`, "imports github.com/kelseyhightower/envconfig, which is for cmd/zigate-ota/internal/config/ only"},
		{"bridge/a.go", `import _ "net/http/pprof"`, "imports net/http/pprof, which is for nobody"},
		{"bridge/a.go", `import p "github.com/prometheus/client_golang/prometheus"` + "\nfunc f() { p.MustRegister() }", "uses prometheus.MustRegister, which belongs to the whole process"},
		{"bridge/a.go", `import "github.com/prometheus/client_golang/prometheus/promhttp"` + "\nvar h = promhttp.Handler()", "uses promhttp.Handler, which belongs to the whole process"},
		{"bridge/a.go", `import "github.com/prometheus/client_golang/prometheus/promauto"` + "\nvar c = promauto.NewCounter()", "uses promauto.NewCounter, which belongs to the whole process"},
		{"bridge/a.go", `import "github.com/prometheus/client_golang/prometheus"` + "\nvar r = prometheus.NewRegistry()", ""},
		{"bridge/a.go", `import "net/http"` + "\nfunc f() { http.HandleFunc() }", "uses http.HandleFunc, which belongs to the whole process"},
		{"bridge/a_test.go", `import "net/http"` + "\nfunc f() { http.HandleFunc() }", ""},
		{"bridge/a.go", `import . "net/http"`, "imports net/http with a dot, which hides what is used"},
		{"bridge/a.go", `import _ "` + module + `/bridge/homeassistant/schema"`, "imports " + module + "/bridge/homeassistant/schema, which is for tests"},
		{"bridge/a_test.go", `import _ "` + module + `/bridge/homeassistant/schema"`, ""},
		{"zigate/a.go", "func init() {}", "has a func init"},
		{"zigate/a.go", "type t int\nfunc (t) init() {}", ""},
	}
	for _, tt := range tests {
		got, err := breaches(tt.name, "package p\n"+tt.body)
		if err != nil {
			t.Fatalf("%s: %s: %v", tt.name, tt.body, err)
		}
		if strings.Join(got, "; ") != tt.want {
			t.Errorf("%s: %s\ngot  %q\nwant %q", tt.name, tt.body, got, tt.want)
		}
	}
}

// breaches lists the rules that a file breaks. The name is relative to the root, with slashes; source is as
// in [parser.ParseFile].
func breaches(name string, source any) ([]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), filepath.FromSlash(name), source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var found []string
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	layer := layerOf(name)
	isTest := strings.HasSuffix(name, "_test.go")
	if layer < 0 && path.Dir(name) != "." {
		add("is in no layer of %s", strings.Join(layers, ", "))
	}
	allowed, inRoom := rooms[path.Dir(name)]
	imported := make(map[string]string) // by local name
	for _, spec := range file.Imports {
		pkg, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		local := path.Base(pkg)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		imported[local] = pkg
		if local == "." {
			add("imports %s with a dot, which hides what is used", pkg)
		}
		if inside, ok := strings.CutPrefix(pkg, module+"/"); ok {
			switch target := layerOf(inside + "/"); {
			case inRoom && !slices.Contains(allowed, inside) && !(isTest && inside == path.Dir(name)):
				add("imports %s, but is to import %s of the project", pkg, listed(allowed))
			case target < 0:
				add("imports %s, which is in no layer", pkg)
			case slices.Contains(forTests, inside) && !isTest:
				add("imports %s, which is for tests", pkg)
			case layer >= 0 && target < layer:
				add("imports %s, which is in a layer above", pkg)
			}
			continue
		}
		if home, limited := homeOf(pkg); limited && !isTest && !slices.ContainsFunc(home, func(dir string) bool { return strings.HasPrefix(name, dir) }) {
			if len(home) == 0 {
				home = []string{"nobody"}
			} else {
				home = append(slices.Clip(home[:len(home)-1]), home[len(home)-1]+" only")
			}
			add("imports %s, which is for %s", pkg, strings.Join(home, ", "))
		}
	}
	if isTest {
		return found, nil
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.FuncDecl:
			if node.Recv == nil && node.Name.Name == "init" {
				add("has a func init")
			}
		case *ast.SelectorExpr:
			if x, ok := node.X.(*ast.Ident); ok && slices.Contains(globals[imported[x.Name]], node.Sel.Name) {
				add("uses %s.%s, which belongs to the whole process", path.Base(imported[x.Name]), node.Sel.Name)
			}
		}
		return true
	})
	return found, nil
}

// layerOf returns the index of the layer that a file or folder lies in, -1 for none.
func layerOf(name string) int {
	top, _, _ := strings.Cut(name, "/")
	return slices.Index(layers, top)
}

// listed names what a room may import.
func listed(allowed []string) string {
	if len(allowed) == 0 {
		return "nothing"
	}
	return "only " + strings.Join(allowed, " and ")
}

// homeOf finds the entry of homes that says most about a package.
func homeOf(pkg string) (home []string, limited bool) {
	for p := pkg; p != "."; p = path.Dir(p) {
		if home, limited = homes[p]; limited {
			return home, true
		}
	}
	return nil, false
}
