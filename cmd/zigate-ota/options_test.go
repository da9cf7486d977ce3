package main

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/config"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// The program takes a server whose certificate is its own where that is in the file of authorities, its own
// variable's or the one that the system's libraries know.
func TestPrivateAuthority(t *testing.T) {
	image := otafile.Build(otafile.Header{ManufacturerCode: 0x117C}, []byte("lamp"))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(image) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes
	server.StartTLS()
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ variable, says string }{
		{"ZIGATE_OTA_IMAGE_CA_FILE=" + ca, "0x117C (4476)"},
		{"SSL_CERT_FILE=" + ca, "0x117C (4476)"},
		{"", "set ZIGATE_OTA_IMAGE_CA_FILE to"},
	} {
		command := exec.Command(programPath(t), "inspect", server.URL)
		command.Env = append(environ(t.TempDir()), c.variable)
		out, err := command.CombinedOutput()
		if !strings.Contains(string(out), c.says) || (err == nil) != (c.variable != "") {
			t.Errorf("%s: %v\n%s", c.variable, err, out)
		}
	}
}

// TestUpgradePolicy: each setting of upgrades becomes the one of the service that has its name, and no other.
func TestUpgradePolicy(t *testing.T) {
	renamed := map[string]string{"Policy": "Auto", "Unsolicited": "ServeUnsolicited"}
	none := upgradePolicy(config.UpgradeConfig{}, otasvc.WatchNever)
	for field := range reflect.TypeFor[config.UpgradeConfig]().Fields() {
		var c config.UpgradeConfig
		switch value := reflect.ValueOf(&c).Elem().FieldByIndex(field.Index).Addr().Interface().(type) {
		case *int:
			*value = 7
		case *time.Duration:
			*value = 7 * time.Second
		case *bool:
			*value = true
		case *config.Overlap:
			*value = config.OverlapAuto
		case *config.Concurrency:
			value.AtOnce = 7
		case *config.Window:
			value.End = time.Hour
		case *config.Policy:
			*value = config.PolicyAuto
		case *config.Unsolicited:
			*value = config.UnsolicitedServe
		default:
			t.Errorf("%s: there is no other value of type %v here: add one", field.Name, field.Type)
		}
		want := field.Name
		if name, ok := renamed[want]; ok {
			want = name
		}
		changed := differences(none, upgradePolicy(c, otasvc.WatchNever))
		if !slices.Equal(changed, []string{want}) {
			t.Errorf("with another %s the service's policy has another %q, want %s", field.Name, changed, want)
		}
	}
}

// differences are the fields in which two policies differ.
func differences(a, b otasvc.Policy) []string {
	var names []string
	for field := range reflect.TypeFor[otasvc.Policy]().Fields() {
		one := reflect.ValueOf(a).FieldByIndex(field.Index).Interface()
		other := reflect.ValueOf(b).FieldByIndex(field.Index).Interface()
		if !reflect.DeepEqual(one, other) {
			names = append(names, field.Name)
		}
	}
	return names
}

// TestMachineNames: the machine is called as its system says, and as the server listens.
func TestMachineNames(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	short, _, _ := strings.Cut(strings.ToLower(host), ".")
	own := []string{strings.ToLower(host), short, short + ".local"}
	for addr, more := range map[string][]string{
		"127.0.0.1:8501": {"127.0.0.1"}, ":8501": nil, "Zigate.Home.ARPA.:8501": {"zigate.home.arpa"}, "[::1]:8501": {"::1"},
	} {
		if got := machineNames(addr); !slices.Equal(got, append(slices.Clone(own), more...)) {
			t.Errorf("%s: %q", addr, got)
		}
	}
}

// TestTrustedProxies: the setting reaches the server.
func TestTrustedProxies(t *testing.T) {
	for proxies, want := range map[string]int{"": http.StatusOK, "127.0.0.0/8": http.StatusForbidden} {
		s := serveHere(t, 50, "ZIGATE_OTA_HTTP_TRUSTED_PROXIES="+proxies)
		req, err := http.NewRequest(http.MethodPut, s.url()+"api/v1/log-level", strings.NewReader(`{"level":"info"}`))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%q: status %d, want %d", proxies, res.StatusCode, want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
