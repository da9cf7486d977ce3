package library_test

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
)

// fileURL is the file URL of a path as it stands, with its "..".
func fileURL(path string) string { return "file://" + filepath.ToSlash(path) }

func TestFetchFile(t *testing.T) {
	image := testImage(3000, 1)
	outside := t.TempDir()
	secret := writeFile(t, image, outside, "secret.ota")
	dir := t.TempDir()
	writeFile(t, image, dir, "plain.ota")
	writeFile(t, image, dir, "sub folder", "50% new.ota")
	writeFile(t, make([]byte, 60_000), dir, "large.ota")
	writeFile(t, []byte("hello"), dir, "text.ota")
	for link, target := range map[string]string{
		"inside.ota":   "plain.ota",
		"escape.ota":   secret,
		"relative.ota": filepath.Join("..", filepath.Base(outside), "secret.ota"),
		"folder":       outside,
		"dangling.ota": "nothing",
		"circle.ota":   "circle.ota",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.ota"), 0o644); err != nil {
		t.Fatal(err)
	}
	l := open(t, library.Options{Dir: dir, MaxBytes: 50_000})

	for _, c := range []struct {
		name, url string
		is        error // nil where it is fetched
		says      string
	}{
		{"plain", fileURL(dir) + "/plain.ota", nil, ""},
		{"with a host that is this one", "file://localhost" + filepath.ToSlash(dir) + "/plain.ota", nil, ""},
		{"with escapes", fileURL(dir) + "/sub%20folder/50%25%20new.ota", nil, ""},
		{"dots that stay inside", fileURL(dir) + "/sub%20folder/../plain.ota", nil, ""},
		{"link that stays inside", fileURL(dir) + "/inside.ota", nil, ""},
		{"absolute path outside", fileURL(secret), library.ErrPolicy, "only read below the image folder " + dir},
		{"dots that lead out", fileURL(dir) + "/../" + filepath.Base(outside) + "/secret.ota", library.ErrPolicy, "only read below"},
		{"escaped dots that lead out", fileURL(dir) + "/%2e%2e/" + filepath.Base(outside) + "/secret.ota", library.ErrPolicy, "only read below"},
		{"a sibling with the same start", fileURL(dir + "x/plain.ota"), library.ErrPolicy, "only read below"},
		{"link that leads out", fileURL(dir) + "/escape.ota", library.ErrAccess, "escapes"},
		{"relative link that leads out", fileURL(dir) + "/relative.ota", library.ErrAccess, "escapes"},
		{"folder link that leads out", fileURL(dir) + "/folder/secret.ota", library.ErrAccess, "escapes"},
		{"dangling link", fileURL(dir) + "/dangling.ota", library.ErrAccess, "no such file"},
		{"link to itself", fileURL(dir) + "/circle.ota", library.ErrAccess, ""},
		{"missing", fileURL(dir) + "/missing.ota", library.ErrAccess, "no such file"},
		{"folder", fileURL(dir) + "/sub%20folder", library.ErrAccess, "no regular file"},
		{"the image folder itself", fileURL(dir), library.ErrAccess, "no regular file"},
		{"named pipe", fileURL(dir) + "/pipe.ota", library.ErrAccess, "no regular file"},
		{"too large", fileURL(dir) + "/large.ota", library.ErrTooLarge, "has 60000 bytes, at most 50000"},
		{"no image", fileURL(dir) + "/text.ota", library.ErrValidation, "not a Zigbee OTA file"},
		{"another host", "file://server/plain.ota", library.ErrPolicy, "has no host"},
		{"no slashes", "file:plain.ota", library.ErrPolicy, "only read below"},
		{"NUL in the name", fileURL(dir) + "/a%00b", library.ErrAccess, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := l.Fetch(t.Context(), library.Request{URL: c.url})
			if c.is == nil {
				checkFetched(t, l, got, err, image)
				return
			}
			checkError(t, err, c.is, c.says)
		})
	}
}

func TestFetchFileBelowALinkedFolder(t *testing.T) {
	image := testImage(3000, 1)
	target := t.TempDir()
	writeFile(t, image, target, "plain.ota")
	link := filepath.Join(t.TempDir(), "images")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	l := open(t, library.Options{Dir: link})
	for _, dir := range []string{link, target} {
		got, err := l.Fetch(t.Context(), library.Request{URL: fileURL(dir) + "/plain.ota"})
		checkFetched(t, l, got, err, image)
	}
}

func TestFetchFileEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, testImage(3000, 1), dir, "plain.ota")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := open(t, library.Options{Dir: dir}).Fetch(ctx, library.Request{URL: fileURL(dir) + "/plain.ota"})
	checkError(t, err, context.Canceled)
	checkError(t, err, library.ErrAccess)
}

func TestFetchForDrivers(t *testing.T) {
	own, directors := testImage(3000, 1), testImage(3000, 2)
	dir := t.TempDir()
	writeFile(t, own, dir, "driver", "Lamp", "own.zigbee")
	writeFile(t, own, dir, "driver", "Lamp", "v2", "own.zigbee")
	writeFile(t, own, dir, "outside.zigbee")
	if err := os.Symlink(filepath.Join("..", ".."), filepath.Join(dir, "driver", "Lamp", "up")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(string(filepath.Separator), filepath.Join(dir, "driver", "Lamp", "root")); err != nil {
		t.Fatal(err)
	}
	var asked []string
	director := roundTrip(func(r *http.Request) (*http.Response, error) {
		asked = append(asked, r.URL.String())
		switch r.URL.Path {
		case "/driver/Lamp/directors.zigbee", "/c4/driver/Lamp/directors.zigbee", "/driver/Lamp/50% new.zigbee":
			return respond(r, 200, -1, bytes.NewReader(directors)), nil
		case "/driver/Lamp/moved.zigbee":
			return respond(r, 302, 0, http.NoBody, "Location", "/driver/Lamp/directors.zigbee"), nil
		case "/driver/Lamp/elsewhere.zigbee":
			return respond(r, 302, 0, http.NoBody, "Location", "http://elsewhere/driver/Lamp/directors.zigbee"), nil
		}
		return respond(r, 404, 0, http.NoBody), nil
	})
	for _, c := range []struct {
		name, url string
		options   library.Options
		want      []byte
		asked     string // last URL, empty for none
		is        error
		says      string
	}{
		{"own", "controller://driver/Lamp/own.zigbee", library.Options{}, own, "", nil, ""},
		{"own, in a folder", "controller://driver/Lamp/v2/own.zigbee", library.Options{}, own, "", nil, ""},
		{"the director's", "controller://driver/Lamp/directors.zigbee", library.Options{}, directors, "http://director/driver/Lamp/directors.zigbee", nil, ""},
		{"the director's, with escapes", "controller://driver/Lamp/50%25%20new.zigbee", library.Options{}, directors, "http://director/driver/Lamp/50%25%20new.zigbee", nil, ""},
		{"another director's", "controller://driver/Lamp/directors.zigbee", library.Options{DirectorURL: "https://10.0.0.5:8443/c4/"}, directors,
			"https://10.0.0.5:8443/c4/driver/Lamp/directors.zigbee", nil, ""},
		{"the director needs not be among the allowed hosts", "controller://driver/Lamp/moved.zigbee", library.Options{AllowedHosts: []string{"example.com"}}, directors,
			"http://director/driver/Lamp/directors.zigbee", nil, ""},
		{"where it redirects to, does", "controller://driver/Lamp/elsewhere.zigbee", library.Options{AllowedHosts: []string{"example.com"}}, nil,
			"http://director/driver/Lamp/elsewhere.zigbee", library.ErrPolicy, `host "elsewhere"`},
		{"and for other URLs the director does, too", "http://director/driver/Lamp/directors.zigbee", library.Options{AllowedHosts: []string{"example.com"}}, nil,
			"", library.ErrPolicy, `host "director"`},
		{"nowhere", "controller://driver/Lamp/missing.zigbee", library.Options{}, nil, "http://director/driver/Lamp/missing.zigbee", library.ErrAccess, "404"},
		{"nowhere for another driver", "controller://driver/Plug/own.zigbee", library.Options{}, nil, "http://director/driver/Plug/own.zigbee", library.ErrAccess, "404"},
		{"no file", "controller://driver/Lamp", library.Options{}, nil, "", library.ErrPolicy, "controller://driver/<name>/<file>"},
		{"a folder", "controller://driver/Lamp/v2", library.Options{}, nil, "", library.ErrAccess, "no regular file"},
		{"a slash at the end", "controller://driver/Lamp/own.zigbee/", library.Options{}, nil, "", library.ErrPolicy, "<file>"},
		{"no driver", "controller://driver//own.zigbee", library.Options{}, nil, "", library.ErrPolicy, "<name>"},
		{"not a driver's", "controller://www/Lamp/own.zigbee", library.Options{}, nil, "", library.ErrPolicy, "controller://driver/"},
		{"dots", "controller://driver/Lamp/../../outside.zigbee", library.Options{}, nil, "", library.ErrPolicy, "<file>"},
		{"escaped dots", "controller://driver/%2e%2e/outside.zigbee", library.Options{}, nil, "", library.ErrPolicy, "<file>"},
		{"dots that stay inside", "controller://driver/Lamp/x/../own.zigbee", library.Options{}, nil, "", library.ErrPolicy, "<file>"},
		{"link out of the image folder", "controller://driver/Lamp/root/etc/passwd", library.Options{}, nil, "", library.ErrAccess, "escapes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked = nil
			c.options.Dir, c.options.Transport = dir, director
			l := open(t, c.options)
			got, err := l.Fetch(t.Context(), library.Request{URL: c.url})
			if c.is == nil {
				checkFetched(t, l, got, err, c.want)
				if got.URL != c.url {
					t.Errorf("URL %q", got.URL)
				}
			} else {
				checkError(t, err, c.is, c.says)
			}
			last := ""
			if len(asked) > 0 {
				last = asked[len(asked)-1]
			}
			if last != c.asked {
				t.Errorf("asked for %q, want %q", last, c.asked)
			}
		})
	}
}

func TestOpenRefusesBadOptions(t *testing.T) {
	file := writeFile(t, nil, t.TempDir(), "file")
	for _, c := range []struct {
		name    string
		options library.Options
		says    string
	}{
		{"no folder", library.Options{}, "no folder"},
		{"a file in its place", library.Options{Dir: file}, "not a directory"},
		{"director of another scheme", library.Options{Dir: t.TempDir(), DirectorURL: "ftp://director"}, "http or https"},
		{"director without a scheme", library.Options{Dir: t.TempDir(), DirectorURL: "director"}, "http or https"},
		{"director malformed", library.Options{Dir: t.TempDir(), DirectorURL: "http://user:secret@[::1"}, "http or https"},
		{"host pattern malformed", library.Options{Dir: t.TempDir(), AllowedHosts: []string{"[a"}}, `"[a" is no host pattern`},
		{"host pattern empty", library.Options{Dir: t.TempDir(), AllowedHosts: []string{"example.com", " "}}, `" " is no host pattern`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := library.Open(c.options)
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want it to say %q", err, c.says)
			}
		})
	}
}

func TestPermissionDenied(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("nothing is denied to root")
	}
	dir := t.TempDir()
	writeFile(t, testImage(3000, 1), dir, "plain.ota")
	l := open(t, library.Options{Dir: dir})
	deny := func(t *testing.T, path string, mode os.FileMode) {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(path, 0o755) })
	}
	t.Run("file", func(t *testing.T) {
		deny(t, filepath.Join(dir, "plain.ota"), 0)
		_, err := l.Fetch(t.Context(), library.Request{URL: fileURL(dir) + "/plain.ota"})
		checkError(t, err, os.ErrPermission)
		checkError(t, err, library.ErrAccess)
	})
	t.Run("store", func(t *testing.T) {
		deny(t, filepath.Join(dir, "store"), 0o555)
		_, err := l.Fetch(t.Context(), library.Request{URL: fileURL(dir) + "/plain.ota"})
		checkError(t, err, os.ErrPermission, "store the image")
	})
	t.Run("image folder", func(t *testing.T) {
		deny(t, dir, 0o555)
		_, err := library.Open(library.Options{Dir: filepath.Join(dir, "below")})
		checkError(t, err, os.ErrPermission, "open image library")
	})
}
