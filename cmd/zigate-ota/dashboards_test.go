package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"

	"github.com/zigate-ota/zigate-ota/bridge/metrics"
)

// metricNames are the metrics of the service, without the prefix zigate_ota_: what dashboards and
// rules may ask for.
func metricNames() []string {
	var names []string
	descriptions := make(chan *prom.Desc)
	go func() {
		defer close(descriptions)
		metrics.New("", "").Registry().Describe(descriptions)
	}()
	own := regexp.MustCompile(`fqName: "zigate_ota_(\w+)"`)
	for d := range descriptions {
		if match := own.FindStringSubmatch(d.String()); match != nil && !slices.Contains(names, match[1]) {
			names = append(names, match[1])
		}
	}
	return names
}

// Dashboards and rules ask for metrics and recorded series that exist, and every metric is on a dashboard.
func TestDashboardMetrics(t *testing.T) {
	known := metricNames()
	if len(known) < 20 {
		t.Fatalf("the service has only %q", known)
	}
	files := deployFiles(t)
	var recorded, seen []string
	for _, match := range regexp.MustCompile(`(?m)^ +- record: (\S+)$`).FindAllStringSubmatch(files["deploy/prometheus/rules/recording.yml"], -1) {
		recorded = append(recorded, match[1])
	}
	if len(recorded) == 0 {
		t.Error("nothing is recorded: are the rules read at all?")
	}
	series := regexp.MustCompile(`\bzigate_ota[_:][a-z0-9_:]+`)
	for path, content := range files {
		if !strings.HasPrefix(path, "deploy/grafana/") && !strings.HasPrefix(path, "deploy/prometheus/") {
			continue
		}
		for _, name := range series.FindAllString(content, -1) {
			name, isMetric := strings.CutPrefix(name, "zigate_ota_")
			if !isMetric {
				if !slices.Contains(recorded, name) {
					t.Errorf("%s asks for %s, which nobody records", path, name)
				}
				continue
			}
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if base, ok := strings.CutSuffix(name, suffix); ok && slices.Contains(known, base) {
					name = base
				}
			}
			if !slices.Contains(known, name) {
				t.Errorf("%s asks for zigate_ota_%s, which the service does not have", path, name)
			}
			if strings.HasPrefix(path, "deploy/grafana/") {
				seen = append(seen, name)
			}
		}
	}
	for _, name := range known {
		if !slices.Contains(seen, name) {
			t.Errorf("zigate_ota_%s is on no dashboard", name)
		}
	}
}

// dashboard is what the tests need of Grafana's dashboard model.
type dashboard struct {
	UID, Title string
	Panels     []struct {
		ID          int
		Title, Type string
		Description string
		GridPos     struct{ X, Y, W, H int }
		Targets     []struct{ Expr string }
	}
}

func loadDashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	dashboards := make(map[string]dashboard)
	for path, content := range deployFiles(t) {
		if !strings.HasPrefix(path, "deploy/grafana/dashboards/") {
			continue
		}
		var d dashboard
		if err := json.Unmarshal([]byte(content), &d); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		dashboards[filepath.Base(path)] = d
	}
	if got, want := slices.Sorted(maps.Keys(dashboards)), []string{"dongle.json", "service.json", "upgrades.json"}; !slices.Equal(got, want) {
		t.Fatalf("there are the dashboards %q", got)
	}
	return dashboards
}

func TestDashboardLayout(t *testing.T) {
	uids := make(map[string]string)
	for name, d := range loadDashboards(t) {
		if other, ok := uids[d.UID]; ok {
			t.Errorf("%s and %s have one uid", name, other)
		}
		uids[d.UID] = name
		ids := make(map[int]string)
		taken := make(map[[2]int]string)
		for _, p := range d.Panels {
			if other, ok := ids[p.ID]; ok {
				t.Errorf("%s: panels %q and %q have one id", name, p.Title, other)
			}
			ids[p.ID] = p.Title
			if len(p.Targets) == 0 || p.Description == "" {
				t.Errorf("%s: panel %q shows nothing, or does not say what", name, p.Title)
			}
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other, ok := taken[[2]int{x, y}]; ok || x >= 24 {
						t.Fatalf("%s: panel %q lies on %q or beyond the edge", name, p.Title, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
		}
	}
}

// prometheus is one that runs with the rules of deploy/prometheus and looks at one service, more
// often than it would.
type prometheus struct {
	t    *testing.T
	url  string
	from time.Time
}

func newPrometheus(t *testing.T, target string) *prometheus {
	t.Helper()
	binary := tool(t, "prometheus")
	dir := t.TempDir()
	config := deployFiles(t)["deploy/prometheus/prometheus.yml"]
	rules, err := filepath.Abs(root + "deploy/prometheus/rules")
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		"scrape_interval: 5s": "scrape_interval: 200ms", "evaluation_interval: 15s": "evaluation_interval: 500ms",
		`"service:8501"`: strconv.Quote(target), "[rules/*.yml]": "[" + rules + "/*.yml]",
	} {
		if !strings.Contains(config, from) {
			t.Fatalf("prometheus.yml has no %q", from)
		}
		config = strings.Replace(config, from, to, 1)
	}
	if err := os.WriteFile(dir+"/prometheus.yml", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := freePort(t)
	p := start(t, nil, binary, "--config.file="+dir+"/prometheus.yml", "--storage.tsdb.path="+dir+"/data", "--web.listen-address="+addr)
	p.stderr.await(t, "Prometheus", func(line string) bool { return strings.Contains(line, "Server is ready to receive web requests") })
	return &prometheus{t: t, url: "http://" + addr, from: time.Now()}
}

// points is how many values the series of an expression have had since Prometheus was started.
func (p *prometheus) points(expr string) (count int, err error) {
	p.t.Helper()
	query := url.Values{
		"query": {expr}, "step": {"0.5"}, "start": {unixSeconds(p.from)}, "end": {unixSeconds(time.Now())},
	}
	res, err := http.Get(p.url + "/api/v1/query_range?" + query.Encode())
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	var answer struct {
		Status, Error string
		Data          struct{ Result []struct{ Values [][2]any } }
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Status != "success" {
		return 0, fmt.Errorf("%w %s: %s", err, answer.Error, expr)
	}
	for _, series := range answer.Data.Result {
		for _, value := range series.Values {
			if value[1] != "NaN" {
				count++
			}
		}
	}
	return count, nil
}

func unixSeconds(t time.Time) string {
	return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64)
}

// Every panel shows something of a demo that a real Prometheus has looked at from its beginning to its end.
func TestDashboardsShowTheDemo(t *testing.T) {
	t.Parallel()
	addr := freePort(t)
	p := newPrometheus(t, addr)
	demo := start(t, append(demoEnviron(), "ZIGATE_OTA_HTTP_ADDR="+addr), programPath(t), "demo", "--speed", "100")
	demo.stdout.await(t, "the end of the demo", func(line string) bool { return strings.Contains(line, "run their new version") })
	const over = `sum(zigate_ota_upgrades_finished_total{outcome="succeeded"}) == 4 and on() zigate_ota:block_response_seconds:p99_5m > 0`
	for n := 0; n == 0; awaitTick(t) {
		var err error
		if n, err = p.points(over); err != nil || t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
	// What a home in which all is well has nothing to show for.
	empty := []string{"Alerts"}
	variables := strings.NewReplacer("$__rate_interval", "2s", "$__range", "1h", "$instance", ".*")
	for name, d := range loadDashboards(t) {
		for _, panel := range d.Panels {
			for _, target := range panel.Targets {
				n, err := p.points(variables.Replace(target.Expr))
				if err != nil {
					t.Errorf("%s: panel %q: %v", name, panel.Title, err)
				} else if (n == 0) != slices.Contains(empty, panel.Title) {
					t.Errorf("%s: panel %q has %d values: %s", name, panel.Title, n, target.Expr)
				}
			}
		}
	}
}

// The rules hold for what their tests say: promtool's own.
func TestPrometheusRules(t *testing.T) {
	tests, err := filepath.Glob(root + "deploy/prometheus/tests/*.yml")
	if err != nil || len(tests) == 0 {
		t.Fatalf("no tests of rules: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), tool(t, "promtool"), append([]string{"test", "rules"}, tests...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// No alert is without a test.
	files := deployFiles(t)
	for _, match := range regexp.MustCompile(`(?m)^ +- alert: (\S+)$`).FindAllStringSubmatch(files["deploy/prometheus/rules/alerts.yml"], -1) {
		fires := regexp.MustCompile(`alertname: ` + match[1] + `\n +exp_alerts: \[\{`)
		if !fires.MatchString(files["deploy/prometheus/tests/alerts.yml"]) {
			t.Errorf("no test has %s fire", match[1])
		}
	}
}
