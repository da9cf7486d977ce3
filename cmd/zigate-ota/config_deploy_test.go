package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// metricNames are the metrics of the service, without the prefix zigate_ota_: what dashboards and rules may ask for.
const metricNames = `serial_frames_total serial_frame_errors_total serial_reconnects_total dongle_up
	dongle_buffers_in_use block_requests_total block_response_seconds block_bytes_total upgrades upgrades_finished_total
	upgrade_duration_seconds device_progress_ratio device_bytes_per_second device_current_version
	delivery_failures_total image_fetches_total images mqtt_connected mqtt_outbox_messages mqtt_outbox_dropped_total
	commands_total build_info`

// deployFiles returns the files that people deploy the service with, by their path from the root of the repository.
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
	known := knownVariables(settingsOf(&Config{}))
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
		if _, err := LoadConfig(append(environ, home...)); err != nil {
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
	if got, want := len(environ), len(knownVariables(settingsOf(&Config{}))); got != want {
		t.Errorf("the example has %d variables, the service %d", got, want)
	}
	if got, want := withoutSources(load(t, environ...)), withoutSources(load(t)); got != want {
		t.Errorf("the example is not the default:\n%s\nwant\n%s", got, want)
	}
}

func withoutSources(c Config) string {
	return regexp.MustCompile(`  # .*`).ReplaceAllString(c.String(), "")
}

// A dashboard asks for metrics that exist, and every metric is on it.
func TestDashboardMetrics(t *testing.T) {
	known := strings.Fields(metricNames)
	var seen []string
	metric := regexp.MustCompile(`\bzigate_ota_([a-z_]+)`)
	for path, content := range deployFiles(t) {
		if !strings.HasPrefix(path, "deploy/grafana/") && !strings.HasPrefix(path, "deploy/prometheus/") {
			continue
		}
		for _, match := range metric.FindAllStringSubmatch(content, -1) {
			name := match[1]
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if base, ok := strings.CutSuffix(name, suffix); ok && slices.Contains(known, base) {
					name = base
				}
			}
			seen = append(seen, name)
			if !slices.Contains(known, name) {
				t.Errorf("%s asks for zigate_ota_%s, which the service does not have", path, name)
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
	UID    string
	Panels []struct {
		ID      int
		Title   string
		Type    string
		GridPos struct{ X, Y, W, H int }
		Targets []struct{ Expr string }
	}
}

func loadDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(deployFiles(t)["deploy/grafana/dashboards/zigate-ota.json"]), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDashboardLayout(t *testing.T) {
	d := loadDashboard(t)
	ids := make(map[int]string)
	taken := make(map[[2]int]string)
	for _, p := range d.Panels {
		if other, ok := ids[p.ID]; ok {
			t.Errorf("panels %q and %q have one id", p.Title, other)
		}
		ids[p.ID] = p.Title
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok || x >= 24 {
					t.Fatalf("panel %q lies on %q or beyond the edge", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

// Prometheus understands every expression of the dashboard, with Grafana's own variables put in.
func TestDashboardExpressions(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil && os.Getenv("CI") != "" {
		t.Fatal("no promtool, which CI has to have (package prometheus)")
	} else if err != nil {
		t.Skip("no promtool")
	}
	var rules strings.Builder
	rules.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	variables := strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h", "$instance", "service")
	for _, p := range loadDashboard(t).Panels {
		for i, target := range p.Targets {
			expr, err := json.Marshal(variables.Replace(target.Expr)) // a JSON string is a YAML one
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&rules, "      - record: panel:%d_%d\n        expr: %s\n", p.ID, i, expr)
		}
	}
	path := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(path, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", path).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}
