package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// inspectionImages are synthetic images, one of each kind of thing that there is to tell.
func inspectionImages(t *testing.T) map[string][]byte {
	t.Helper()
	h := otafile.Header{ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: 0x23095631, StackVersion: 2}
	copy(h.HeaderString[:], "\x01TRADFRI bulb E27   ")
	payload := bytes.Repeat([]byte("lamp"), 50)
	plain := otafile.Build(h, payload)
	coded := otafile.Build(h, payload, otafile.WithIntegrityCode())

	full := h
	full.CredentialVersion, full.Destination = new(uint8), new(uint64)
	*full.CredentialVersion, *full.Destination = 2, 0x000b57fffec6a5b2
	full.MinHardwareVersion, full.MaxHardwareVersion = new(uint16), new(uint16)
	*full.MinHardwareVersion, *full.MaxHardwareVersion = 1, 3

	var packed bytes.Buffer
	// The same bytes with every version of the package.
	w, err := gzip.NewWriterLevel(&packed, gzip.NoCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(append(bytes.Clone(coded), "behind it"...)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}

	gbl := binary.LittleEndian.AppendUint32([]byte{0xEB, 0x17, 0xA6, 0x03, 0, 0, 0, 0, 0xFC, 0x04, 0x04, 0xFC}, 4)
	gbl = binary.LittleEndian.AppendUint32(gbl, crc32.ChecksumIEEE(gbl))
	var many []builtElement
	for i := range 20 {
		many = append(many, builtElement{0xF000 + uint16(i), []byte{byte(i)}})
	}
	signed := []builtElement{
		{otafile.TagSignature, make([]byte, 50)}, {otafile.TagCertificate, make([]byte, 48)},
		{otafile.TagIntegrityCode, nil},
	}
	odd := h
	odd.FileVersion, odd.ImageType = 0xFFFFFFFF, 0xFFC3
	return map[string][]byte{
		"plain.ota":    plain,
		"coded.ota":    coded,
		"damaged.ota":  append(coded[:len(coded)-1:len(coded)-1], coded[len(coded)-1]^1),
		"full.ota":     builtImage(full, gbl, signed...),
		"packed.gz":    packed.Bytes(),
		"many.ota":     builtImage(h, payload, many...),
		"wildcard.ota": builtImage(odd, payload, builtElement{otafile.TagPicture, []byte{1}}, builtElement{7, nil}),
		"cut.ota":      coded[:100],
		"page.ota":     []byte("<!doctype html><title>Sign in</title>"),
	}
}

// builtElement is an element of an image. An integrity code has no data yet.
type builtElement struct {
	tag  uint16
	data []byte
}

// builtImage is an image with elements behind the payload.
func builtImage(h otafile.Header, payload []byte, elements ...builtElement) []byte {
	image := otafile.Build(h, payload)
	total := len(image)
	for _, e := range elements {
		if total += 6 + len(e.data); e.tag == otafile.TagIntegrityCode {
			total += 16
		}
	}
	binary.LittleEndian.PutUint32(image[52:], uint32(total)) // total image size
	for _, e := range elements {
		if e.tag == otafile.TagIntegrityCode { // over what stands before it
			code := otafile.IntegrityCode(image)
			e.data = code[:]
		}
		image = binary.LittleEndian.AppendUint16(image, e.tag)
		image = binary.LittleEndian.AppendUint32(image, uint32(len(e.data)))
		image = append(image, e.data...)
	}
	return image
}

// inDir calls a function with the images in the working directory, so that output has no path in it.
func inDir(t *testing.T) {
	t.Helper()
	images := inspectionImages(t)
	t.Chdir(t.TempDir())
	for name, content := range images {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func inspected1(t *testing.T, environ []string, args ...string) (stdout string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	p := &program{environ: environ, stdout: &out, stderr: &errs}
	_, err = commandline.Execute(t.Context(), p.commands(), append([]string{"inspect"}, args...))
	if errs.Len() > 0 {
		t.Errorf("stderr: %s", &errs)
	}
	return out.String(), err
}

func TestInspect(t *testing.T) {
	golden, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	inDir(t)
	for _, c := range []struct{ file, says string }{
		{"plain.ota", ""},
		{"coded.ota", ""},
		{"damaged.ota", "damaged.ota: 1 check failed"},
		{"full.ota", ""},
		{"packed.gz", ""},
		{"many.ota", ""},
		{"wildcard.ota", ""},
		{"cut.ota", "cut.ota: the file is cut short: its header says 284 bytes, there are 100"},
		{"page.ota", "page.ota: not a Zigbee OTA file: it is a web page"},
		{"missing.ota", "missing.ota: open missing.ota: no such file or directory"},
		{".", ".: read .: is a directory"},
	} {
		t.Run(c.file, func(t *testing.T) {
			text, err := inspected1(t, nil, c.file)
			checkInspected(t, err, c.says)
			asJSON, err := inspected1(t, nil, "--json", c.file)
			checkInspected(t, err, c.says)
			if !json.Valid([]byte(asJSON)) || strings.Count(asJSON, "\n") != 1 {
				t.Errorf("no JSON in one line: %s", asJSON)
			}
			var indented bytes.Buffer
			if err := json.Indent(&indented, []byte(asJSON), "", "  "); err != nil {
				t.Fatal(err)
			}
			name := strings.TrimSuffix(c.file, filepath.Ext(c.file))
			if name == "" {
				name = "folder"
			}
			compareWithFile(t, filepath.Join(golden, "inspect", name+".golden"), []byte(text+"\n"+indented.String()))
		})
	}
}

// isUsage reports whether the command line or the configuration is what is wrong.
func isUsage(err error) bool { return commandline.ExitCode(err) == commandline.ExitUsage }

func checkInspected(t *testing.T, err error, says string) {
	t.Helper()
	if isUsage(err) || (err == nil) != (says == "") || err != nil && err.Error() != says {
		t.Errorf("%v, want %q", err, says)
	}
}

func TestInspectSeveral(t *testing.T) {
	inDir(t)
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"plain.ota", "coded.ota"}, ""},
		{[]string{"plain.ota", "page.ota", "coded.ota"}, "page.ota: not a Zigbee OTA file: it is a web page"},
		{[]string{"page.ota", "damaged.ota", "coded.ota"}, "something is wrong with 2 of 3 files"},
	} {
		text, err := inspected1(t, nil, c.args...)
		checkInspected(t, err, c.says)
		if parts := strings.Split(text, "\n\n"); len(parts) != len(c.args) {
			t.Errorf("%d parts:\n%s", len(parts), text)
		}
		lines, err := inspected1(t, nil, append(c.args, "--json")...)
		checkInspected(t, err, c.says)
		var names []string
		for line := range strings.Lines(lines) {
			var r struct {
				Name string `json:"name"`
				OK   *bool  `json:"ok"`
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil || r.OK == nil {
				t.Errorf("%s: %v", line, err)
			}
			names = append(names, r.Name)
		}
		if strings.Join(names, " ") != strings.Join(c.args, " ") {
			t.Errorf("%q, want %q", names, c.args)
		}
	}
}

func TestInspectURL(t *testing.T) {
	images := inspectionImages(t)
	images["large.ota"] = otafile.Build(otafile.Header{}, make([]byte, 2000))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, ok := images[strings.TrimPrefix(r.URL.Path, "/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Write(content)
	}))
	defer server.Close()
	state := t.TempDir()
	if err := os.MkdirAll(filepath.Join(state, "images", "driver", "Lamp"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "images", "driver", "Lamp", "lamp.zigbee"), images["plain.ota"], 0o644); err != nil {
		t.Fatal(err)
	}
	home := "ZIGATE_OTA_STATE_DIR=" + state
	for _, c := range []struct {
		name, url string
		environ   []string
		says      string // in the error; empty: there is none
	}{
		{"image", server.URL + "/packed.gz", []string{home}, ""},
		{"with a password", strings.Replace(server.URL, "//", "//me:secret@", 1) + "/coded.ota?token=secret", []string{home}, ""},
		{"of a driver", "controller://driver/Lamp/lamp.zigbee", []string{home}, ""},
		{"missing", strings.Replace(server.URL, "//", "//me:secret@", 1) + "/missing.ota", []string{home}, "404 Not Found"},
		{"too large for the service", server.URL + "/large.ota", []string{home, "ZIGATE_OTA_IMAGE_MAX_BYTES=1024"}, "too large"},
		{"without an image folder", server.URL + "/plain.ota", []string{home, "ZIGATE_OTA_IMAGE_DIR=" + filepath.Join(state, "none")}, ""},
		{"host that is not allowed", server.URL + "/coded.ota", []string{home, "ZIGATE_OTA_IMAGE_ALLOWED_HOSTS=example.org"}, "may not come from host"},
		{"another scheme", "ftp://example.org/lamp.ota", []string{home}, `its scheme is "ftp"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, err := inspected1(t, c.environ, c.url)
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
			if err != nil {
				text += err.Error()
			}
			if strings.Contains(text, "secret") || c.says == "" && !strings.Contains(text, "manufacturer code    0x117C (4476)") {
				t.Error(text)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(state, "images", "store")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was kept: %v", err)
	}
}

func TestInspectUsage(t *testing.T) {
	inDir(t)
	for _, c := range []struct {
		args    []string
		environ []string
		says    string
	}{
		{nil, nil, "wants [--json] FILE|URL...; see zigate-ota help inspect"},
		{[]string{"--json"}, nil, "wants [--json] FILE|URL..."},
		{[]string{"--yaml", "plain.ota"}, nil, "there is no flag --yaml"},
		{[]string{"--", "--json"}, nil, ""},
		{[]string{"https://example.org/x"}, []string{"ZIGATE_OTA_LOG_LEVEL=loud"}, "the configuration has mistakes"},
	} {
		_, err := inspected1(t, c.environ, c.args...)
		if isUsage(err) != (c.says != "") || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v, want %q", c.args, err, c.says)
		}
	}
}

var update = flag.Bool("update", false, "write the files that tests compare with")

func compareWithFile(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is not what the program writes (-file +program); go test -update ./cmd/zigate-ota makes it anew:\n%s", path, diff)
	}
}
