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
	"strings"
	"testing"

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
