package shell

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/terminal"
)

// maxFile is the size of the largest file that is served, in bytes. Every image is far smaller.
const maxFile = 64 << 20

// AddImage has the options of [Shell.AddImage]. Texts go to the service as they are; an empty one leaves
// its key out.
type AddImage struct {
	Device        string
	Source        string // a URL, or the name of a file of this machine
	SHA256        string // in hexadecimal digits
	SHA512        string // in hexadecimal digits
	Manufacturer  string // the code that the image must have
	ImageType     string
	DriverType    string
	DriverVersion string
	// Serve is the address of this machine, host or host:port, under which the service can fetch the file.
	Serve string

	// Upgrade asks for an upgrade of the device afterwards; NoWait and Quiet are as in [Upgrade].
	Upgrade bool
	NoWait  bool
	Quiet   bool
}

// request returns the request without its URL.
func (a *AddImage) request() map[string]any {
	request := map[string]any{"deviceId": a.Device}
	for key, value := range map[string]string{
		"sha256": a.SHA256, "sha512": a.SHA512, "mfgId": a.Manufacturer, "imageTypeId": a.ImageType,
		"driverTypeId": a.DriverType, "version": a.DriverVersion,
	} {
		if value != "" {
			request[key] = value
		}
	}
	return request
}

// AddImage asks the service to fetch, check and register an image for a device, and then to upgrade the
// device where the options say so.
func (c *Shell) AddImage(ctx context.Context, a AddImage) error {
	request := a.request()
	isFile := !strings.Contains(a.Source, "://")
	var content []byte
	switch {
	case isFile:
		var err error
		if content, err = readFile(a.Source); err != nil {
			return err
		}
	case a.Serve != "":
		return failed(ExitUsage, "--serve goes with a FILE, and %s is a URL", terminal.Clean(a.Source))
	}

	s, err := c.open(ctx, wantsDevices)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.gather(ctx); err != nil {
		return err
	}

	request["url"] = a.Source
	hint := ""
	if isFile {
		server, err := serveFile(ctx, filepath.Base(a.Source), content, a.Serve, s.localAddress(ctx))
		if err != nil {
			return err
		}
		defer server.close()
		request["url"] = server.url
		if a.SHA256 == "" && a.SHA512 == "" {
			digest := sha256.Sum256(content)
			request["sha256"] = hex.EncodeToString(digest[:])
		}
		hint = fmt.Sprintf(
			"; the service was to fetch the file from this machine, at %s: where it cannot (a container, "+
				"another network, ZIGATE_OTA_IMAGE_ALLOWED_HOSTS), name an address that it can with "+
				"--serve, or copy the file into its image folder (ZIGATE_OTA_IMAGE_DIR)",
			server.host,
		)
	}

	final, err := s.ask(ctx, "add_image", request, "the service may go on with the image")
	if err != nil {
		return err
	}
	if final.Status != contract.StatusImageAccessFailed {
		hint = ""
	}

	if err := c.tellAdded(s, &a, final, hint); err != nil || !a.Upgrade {
		return err
	}
	u := Upgrade{Devices: []string{text(final.EUID)}, NoWait: a.NoWait, Quiet: a.Quiet}
	return c.upgradeAndWait(ctx, s, u, nil)
}

// tellAdded shows whether the image was added; hint says what to do where it was not.
func (c *Shell) tellAdded(s *session, a *AddImage, final *response, hint string) error {
	if c.options.JSON {
		if err := printJSON(c.term, final.raw); err != nil {
			return err
		}
	}
	if !final.succeeded() {
		return &Error{Code: ExitFailed, Err: errors.New(terminal.Clean(a.Device + ": " + final.why() + hint))}
	}
	euid := contract.EUID(text(final.EUID))
	if !c.options.JSON {
		fmt.Fprintf(c.term, "%s: image %s is registered; it runs %s\n",
			terminal.Clean(s.devices.name(euid)), version(final.ImageVersion),
			s.devices.runs(euid, final.OldImageVersion))
	}
	if d := s.devices[euid]; d != nil && !final.fits(d) {
		fmt.Fprintf(c.stderr, "%s will not get it: the image is for manufacturer %s, type %s, "+
			"the device is of manufacturer %s, type %s\n",
			terminal.Clean(d.Name), hex16(final.ManufacturerCode), hex16(final.ImageType),
			hex16(d.ManufacturerCode), hex16(d.ImageType))
	}
	return nil
}

// readFile reads a file that is to be served.
func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, failed(ExitFailed, "%w (a URL begins with http:// or https://)", err)
	case info.IsDir():
		return nil, failed(ExitFailed, "%s is a folder", name)
	case info.Size() > maxFile:
		return nil, failed(ExitFailed, "%s has %d bytes, which is more than any image", name, info.Size())
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, &Error{Code: ExitFailed, Err: err}
	}
	return content, nil
}

// fileServer serves one file, under a path that cannot be guessed, until the service has fetched it.
type fileServer struct {
	server *http.Server
	done   chan struct{}
	url    string
	host   string
}

// serveFile serves a file at the given address, or else at the address from which this machine reaches the
// broker, which is the loopback address where the broker is on this machine.
func serveFile(ctx context.Context, name string, content []byte, given, local string) (*fileServer, error) {
	host := local
	port := "0"
	if given != "" {
		host = given
		if h, p, err := net.SplitHostPort(given); err == nil {
			host = h
			port = p
		}
		host = strings.Trim(host, "[]")
	}

	if host == "" {
		host = "127.0.0.1"
	}
	// The given address may be one that is not this machine's own, such as a container's host or a
	// forwarded port. The server then listens on all addresses.
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil && given != "" {
		listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("", port))
	}

	if err != nil {
		return nil, failed(ExitFailed,
			"serving the file to the service: %w; name another address of this machine with --serve", err)
	}
	_, bound, _ := net.SplitHostPort(listener.Addr().String())
	path := "/" + randomHex(8) + "/" + name
	f := &fileServer{done: make(chan struct{}), host: net.JoinHostPort(host, bound)}
	f.url = (&url.URL{Scheme: "http", Host: f.host, Path: path}).String()
	f.server = &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != path {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Type", "application/octet-stream")
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		}),
	}

	go func() {
		defer close(f.done)
		_ = f.server.Serve(listener) // it ends with close; the service reports where it cannot fetch the file
	}()
	return f, nil
}

func (f *fileServer) close() {
	_ = f.server.Close()
	<-f.done
}
