package metrics_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/bridge/broker"
	"github.com/zigate-ota/zigate-ota/bridge/metrics"
	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate"
)

// constants are the string constants of a type in a package (its folder), as its source has them: a value that
// is added there and forgotten here must not end as "other".
func constants[T ~string](t *testing.T, folder, typeName string) []T {
	t.Helper()
	files, err := filepath.Glob("../../" + folder + "/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var found []T
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if of, ok := spec.Type.(*ast.Ident); !ok || of.Name != typeName || len(spec.Values) != 1 {
				return true
			}
			if literal, ok := spec.Values[0].(*ast.BasicLit); ok && literal.Kind == token.STRING {
				s, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				found = append(found, T(s))
			}
			return true
		})
	}
	if len(found) < 2 {
		t.Fatalf("%d constants of type %s found", len(found), typeName)
	}
	return found
}

// values are all values that a label of a metric has; counted: of the series that are not 0 only.
func values(t *testing.T, m *metrics.Metrics, name, label string, counted bool) []string {
	t.Helper()
	got := make(map[string]bool)
	for series, n := range gather(t, m, prefix+name+"{") {
		if counted && n == 0 {
			continue
		}
		_, rest, ok := strings.Cut(series, label+`="`)
		if !ok {
			t.Fatalf("%s has no %s", series, label)
		}
		value, _, _ := strings.Cut(rest, `"`)
		got[value] = true
	}
	return slices.Sorted(maps.Keys(got))
}

// TestClosedSets: every value there is has a label of its own, and everything else shares one.
func TestClosedSets(t *testing.T) {
	stranger := "never heard of"
	tests := []struct {
		name, metric, label string
		values              []string
		tell                func(*metrics.Metrics, string)
	}{
		{"block results", "block_requests_total", "result", text(constants[blocks.Result](t, "otasvc/blocks", "Result")),
			func(m *metrics.Metrics, v string) { m.BlockRequest(blocks.Result(v), 0) }},
		{"reasons", "upgrades_finished_total", "reason", text(constants[upgrade.Reason](t, "otasvc/upgrade", "Reason")),
			func(m *metrics.Metrics, v string) {
				m.UpgradeFinished(upgrade.Failed, upgrade.Reason(v), time.Minute)
			}},
		{"outcomes", "upgrades_finished_total", "outcome", []string{"cancelled", "failed", "succeeded"},
			func(m *metrics.Metrics, v string) {
				m.UpgradeFinished(upgrade.State(v), upgrade.NoReason, time.Minute)
			}},
		{"outcomes of durations", "upgrade_duration_seconds", "outcome", []string{"cancelled", "failed", "succeeded"},
			func(m *metrics.Metrics, v string) {
				m.UpgradeFinished(upgrade.State(v), upgrade.NoReason, time.Minute)
			}},
		{"statuses", "commands_total", "status", text(constants[otasvc.Status](t, "otasvc", "Status")),
			func(m *metrics.Metrics, v string) { m.Command("upgrade", v) }},
		{"fetches", "image_fetches_total", "outcome", []string{"failure", "imageAccessFailed", "imageValidationFailed", "success"},
			func(m *metrics.Metrics, v string) { m.ImageFetched(otasvc.Status(v)) }},
		{"frame errors", "serial_frame_errors_total", "reason", zigate.FrameErrorReasons(), (*metrics.Metrics).FrameError},
		{"dropped messages", "mqtt_outbox_dropped_total", "reason", text(mqttclient.DropReasons()),
			func(m *metrics.Metrics, v string) { m.OutboxDropped(v, 1) }},
		{"messages that the broker dropped", "broker_dropped_total", "reason", text(broker.DropReasons()),
			func(m *metrics.Metrics, v string) { m.BrokerDropped(broker.DropReason(v), 1) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := metrics.New("", "")
			for _, v := range append([]string{stranger, stranger + "!"}, tt.values...) {
				tt.tell(m, v)
			}
			want := slices.Sorted(slices.Values(append([]string{"other"}, tt.values...)))
			if d := cmp.Diff(want, values(t, m, tt.metric, tt.label, true)); d != "" {
				t.Errorf("labels (-want +got):\n%s", d)
			}
		})
	}
}

// TestStates: the gauge shows every state, at 0 where there is none.
func TestStates(t *testing.T) {
	want := slices.Sorted(slices.Values(text(constants[upgrade.State](t, "otasvc/upgrade", "State"))))
	if d := cmp.Diff(want, values(t, metrics.New("", ""), "upgrades", "state", false)); d != "" {
		t.Errorf("states (-want +got):\n%s", d)
	}
}

func text[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return out
}
