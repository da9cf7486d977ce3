package library_test

import (
	"archive/zip"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
)

// driverPackage is a .c4z with the given files.
func driverPackage(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, content := range files {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// driverDir fills a driver folder.
func driverDir(t *testing.T) (dir string, own, packed []byte) {
	dir = t.TempDir()
	own, packed = testImage(3000, 1), testImage(3000, 2)
	writeFile(t, own, dir, "driver", "Lamp", "own.zigbee")
	writeFile(t, own, dir, "driver", "Lamp", "v2", "50% new.zigbee")
	writeFile(t, own, dir, "driver", "Lamp", ".secret")
	writeFile(t, own, dir, "driver", ".git", "config")
	writeFile(t, own, dir, "driver", "readme")
	writeFile(t, own, dir, "outside.zigbee")
	writeFile(t, driverPackage(t, map[string][]byte{
		"driver.xml": []byte("<devicedata/>"), "www/packed.zigbee": packed, "www/own.zigbee": packed, `www\sub\windows.zigbee`: packed,
		"www/large.zigbee": make([]byte, 60_000),
	}), dir, "driver", "Lamp.c4z")
	writeFile(t, driverPackage(t, map[string][]byte{"www/packed.zigbee": packed}), dir, "driver", "Plug.C4Z")
	writeFile(t, []byte("PK\x03\x04 no zip"), dir, "driver", "Broken.c4z")
	for link, target := range map[string]string{
		"inside.zigbee": "own.zigbee", "outside.zigbee": filepath.Join("..", "..", "outside.zigbee"), "up": filepath.Join("..", ".."), "root": string(filepath.Separator),
	} {
		if err := os.Symlink(target, filepath.Join(dir, "driver", "Lamp", link)); err != nil {
			t.Fatal(err)
		}
	}
	return dir, own, packed
}

func TestDriverHandler(t *testing.T) {
	dir, own, packed := driverDir(t)
	handler := open(t, library.Options{Dir: dir, MaxBytes: 50_000}).DriverHandler()
	for _, c := range []struct {
		name, method, path string
		status             int
		want               []byte
	}{
		{"file", "GET", "/driver/Lamp/own.zigbee", 200, own},
		{"head", "HEAD", "/driver/Lamp/own.zigbee", 200, nil},
		{"file in a folder", "GET", "/driver/Lamp/v2/50%25%20new.zigbee", 200, own},
		{"link that stays inside", "GET", "/driver/Lamp/inside.zigbee", 200, own},
		{"in the package", "GET", "/driver/Lamp/packed.zigbee", 200, packed},
		{"in the package, by its file name", "GET", "/driver/Lamp.c4z/packed.zigbee", 200, packed},
		{"in the package, in a folder", "GET", "/driver/Lamp/sub/windows.zigbee", 200, packed},
		{"in the package, head", "HEAD", "/driver/Lamp/packed.zigbee", 200, nil},
		{"in a package without a folder", "GET", "/driver/Plug.C4Z/packed.zigbee", 200, packed},
		{"in the package but not below www", "GET", "/driver/Lamp/driver.xml", 404, nil},
		{"in the package, by its inner path", "GET", "/driver/Lamp.c4z/www/packed.zigbee", 404, nil},
		{"in the package, too large", "GET", "/driver/Lamp/large.zigbee", 404, nil},
		{"in a broken package", "GET", "/driver/Broken/packed.zigbee", 404, nil},
		{"missing", "GET", "/driver/Lamp/missing.zigbee", 404, nil},
		{"missing driver", "GET", "/driver/Nobody/own.zigbee", 404, nil},
		{"the driver folder", "GET", "/driver/", 404, nil},
		{"a driver's folder", "GET", "/driver/Lamp/", 404, nil},
		{"a driver's folder without a slash", "GET", "/driver/Lamp", 404, nil},
		{"a folder in it", "GET", "/driver/Lamp/v2", 404, nil},
		{"a file of no driver", "GET", "/driver/readme", 404, nil},
		{"the package itself", "GET", "/driver/Lamp.c4z", 404, nil},
		{"hidden", "GET", "/driver/Lamp/.secret", 404, nil},
		{"in a hidden folder", "GET", "/driver/.git/config", 404, nil},
		{"link out of the driver folder", "GET", "/driver/Lamp/outside.zigbee", 404, nil},
		{"folder link out of the driver folder", "GET", "/driver/Lamp/up/outside.zigbee", 404, nil},
		{"link out of everything", "GET", "/driver/Lamp/root/etc/passwd", 404, nil},
		{"dots", "GET", "/driver/Lamp/../../outside.zigbee", 404, nil},
		{"escaped dots", "GET", "/driver/%2e%2e/outside.zigbee", 404, nil},
		{"escaped slashes", "GET", "/driver/Lamp%2f..%2f..%2foutside.zigbee", 404, nil},
		{"backslashes", "GET", `/driver/Lamp/..\..\outside.zigbee`, 404, nil},
		{"two slashes", "GET", "/driver//Lamp/own.zigbee", 404, nil},
		{"NUL", "GET", "/driver/Lamp/own.zigbee%00", 404, nil},
		{"another path", "GET", "/images/Lamp/own.zigbee", 404, nil},
		{"writing", "PUT", "/driver/Lamp/own.zigbee", 405, nil},
		{"removing", "DELETE", "/driver/Lamp/own.zigbee", 405, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
			if w.Code != c.status {
				t.Fatalf("status %d, want %d: %s", w.Code, c.status, w.Body)
			}
			if c.want != nil && (!bytes.Equal(w.Body.Bytes(), c.want) || w.Header().Get("Content-Type") != "application/octet-stream") {
				t.Errorf("%d bytes, %v", w.Body.Len(), w.Header())
			}
			if c.method == "HEAD" && (w.Body.Len() != 0 || w.Header().Get("Content-Length") == "") {
				t.Errorf("%d bytes, %v", w.Body.Len(), w.Header())
			}
			if c.status == 404 && (strings.Contains(w.Body.String(), dir) || strings.Contains(w.Body.String(), "escapes")) {
				t.Errorf("it tells more than that there is nothing: %s", w.Body)
			}
		})
	}
	content, err := os.ReadFile(filepath.Join(dir, "driver", "Lamp", "own.zigbee"))
	if err != nil || !bytes.Equal(content, own) {
		t.Errorf("the file was changed: %v", err)
	}
}

// Over a connection: parts of a file, and what has not changed is not sent again.
func TestDriverHandlerRanges(t *testing.T) {
	dir, own, packed := driverDir(t)
	server := serve(t, open(t, library.Options{Dir: dir}).DriverHandler().ServeHTTP)
	get := func(path string, header ...string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		response, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { response.Body.Close() })
		return response
	}
	for path, want := range map[string][]byte{"/driver/Lamp/own.zigbee": own, "/driver/Lamp/packed.zigbee": packed} {
		response := get(path, "Range", "bytes=100-199")
		part, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != 206 || !bytes.Equal(part, want[100:200]) {
			t.Errorf("%s: status %d, %d bytes, %v", path, response.StatusCode, len(part), err)
		}
	}
	first := get("/driver/Lamp/own.zigbee")
	if again := get("/driver/Lamp/own.zigbee", "If-Modified-Since", first.Header.Get("Last-Modified")); again.StatusCode != 304 {
		t.Errorf("status %d", again.StatusCode)
	}
}

// A controller URL means what the handler serves.
func TestFetchFromDriverPackages(t *testing.T) {
	dir, own, packed := driverDir(t)
	director := roundTrip(func(r *http.Request) (*http.Response, error) { return respond(r, 404, 0, http.NoBody), nil })
	l := open(t, library.Options{Dir: dir, MaxBytes: 50_000, Transport: director})
	for _, c := range []struct {
		url  string
		want []byte
		says string
	}{
		{"controller://driver/Lamp/packed.zigbee", packed, ""},
		{"controller://driver/Lamp.c4z/packed.zigbee", packed, ""},
		{"controller://driver/Lamp/own.zigbee", own, ""},
		{"controller://driver/Plug.C4Z/packed.zigbee", packed, ""},
		{"controller://driver/Lamp/large.zigbee", nil, "too large"},
		{"controller://driver/Broken/packed.zigbee", nil, "cannot be opened"},
		{"controller://driver/Lamp.c4z/missing.zigbee", nil, "404"},
	} {
		got, err := l.Fetch(t.Context(), library.Request{URL: c.url})
		if c.want == nil {
			checkError(t, err, library.ErrAccess, c.says, c.url[strings.LastIndexByte(c.url, '/')+1:])
			continue
		}
		checkFetched(t, l, got, err, c.want)
	}
}
