package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/config"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/terminal"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// onceLimit ends a demo with --once that does not come to an end.
const onceLimit = 15 * time.Minute

// demo shows a whole upgrade. It runs the service with a simulated dongle and, unless a broker is
// configured, the embedded broker; a server for the images; and a user who publishes requests and shows the
// answers.
func (p *program) demo(ctx context.Context, d commandline.Demo) (err error) {
	if !(d.Speed > 0) { // this is also true of NaN
		return usageError("--speed must be more than 0, 1 is the pace of a real radio")
	}
	cfg, err := p.config()
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "zigate-ota-demo-")
	if err != nil {
		return fmt.Errorf("making a folder for the demo: %w", err)
	}
	defer os.RemoveAll(work)
	demoConfig(&cfg, work)

	devices := simulatedDevices()
	images, err := demoImages(ctx, cfg, d.Image, filepath.Join(work, "fetched"), devices)
	if err != nil {
		return err
	}
	server, err := serveImages(ctx, images)
	if err != nil {
		return err
	}
	defer server.close()

	if !cfg.IsSet("ZIGATE_OTA_LOG_LEVEL") {
		// The demo shows what the service publishes over MQTT; the log needs to show errors only.
		cfg.Log.Level = slog.LevelError
	}
	log := newLogger(p.stderr, cfg.Log)
	home := newSimulation(devices, d.Speed)
	a, err := newApp(cfg, log, home)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- a.Run(ctx)
		stop() // the demo cannot go on without the service
	}()
	defer func() {
		stop()
		if stopped := <-ended; err == nil {
			err = stopped
		}
	}()
	select {
	case <-a.Ready():
	case err := <-ended:
		ended <- nil
		return err
	case <-ctx.Done():
		return interrupted(d.Once)
	}

	limit := ctx
	if d.Once {
		var cancel context.CancelFunc
		limit, cancel = context.WithTimeout(ctx, onceLimit)
		defer cancel()
	}
	u := &demoUser{
		base:    cfg.MQTT.BaseTopic,
		cfg:     cfg,
		home:    home,
		devices: devices,
		images:  images,
		url:     server.url,
		screen:  terminal.NewScreen(terminal.New(p.stdout, p.environ)),
		broker:  a.brokerURLs(),
		page:    "http://" + a.httpAddr(),
	}
	err = u.run(limit)
	switch {
	case err != nil && ctx.Err() != nil:
		return interrupted(d.Once)
	case err != nil || d.Once:
		return err
	}
	u.screen.Print("Everything is still running; stop it with Ctrl-C.")
	<-ctx.Done()
	return nil
}

// interrupted returns how a demo ends that was stopped. That is an error where it was to run to its end.
func interrupted(once bool) error {
	if once {
		return errors.New("stopped before the devices had their new version")
	}
	return nil
}

// demoConfig changes the configuration so that a demo can run beside other programs: it leaves nothing
// behind, reads no index of images, and takes any free port, unless one was configured.
func demoConfig(cfg *config.Config, work string) {
	cfg.Dongle = config.DongleSimulated
	if !cfg.IsSet("ZIGATE_OTA_STATE_DIR") {
		imagesBelow := !cfg.IsSet("ZIGATE_OTA_IMAGE_DIR")
		cfg.StateDir = filepath.Join(work, "state")
		if imagesBelow {
			cfg.Image.Dir = filepath.Join(cfg.StateDir, "images")
		}
	}
	if !cfg.IsSet("ZIGATE_OTA_IMAGE_INDEXES") {
		cfg.Image.Indexes = nil // a demo needs no network
	}
	if !cfg.IsSet("ZIGATE_OTA_BROKER_ADDR") {
		cfg.Broker.Addr = "127.0.0.1:0"
	}
	if !cfg.IsSet("ZIGATE_OTA_HTTP_ADDR") {
		cfg.HTTP.Addr = "127.0.0.1:0"
	}
}

// demoImage is a file on the demo's image server and what devices are to hold in the end.
type demoImage struct {
	name   string // below the server's root
	file   []byte // as downloaded, in its wrapper
	served []byte // what devices get
	header otafile.Header
}

// demoImages makes an image for each device, newer than what it runs. Where an image is given, it changes
// the devices so that the image fits them.
func demoImages(
	ctx context.Context, cfg config.Config, source, dir string, devices []sim.DeviceConfig,
) (map[message.IEEE]demoImage, error) {
	images := map[message.IEEE]demoImage{}
	if source == "" {
		for _, d := range devices {
			images[d.IEEE] = madeImage(d)
		}
		return images, nil
	}

	given, err := givenImage(ctx, cfg, source, dir)
	if err != nil {
		return nil, err
	}
	for i := range devices {
		d := &devices[i]
		h := given.header
		d.ManufacturerCode = h.ManufacturerCode
		d.ImageType = h.ImageType
		d.HardwareVersion = h.MinHardwareVersion
		d.ManufacturerName = "Simulated"
		d.ModelID = strings.TrimSpace(h.Title())
		if d.ModelID == "" {
			d.ModelID = fmt.Sprintf("type 0x%04x", h.ImageType)
		}
		if h.FileVersion == 0 {
			return nil, fmt.Errorf("%s has file version 0: there is no older version that a device could "+
				"be upgraded from", source)
		}
		d.FileVersion = h.FileVersion - 1
		images[d.IEEE] = given
	}
	return images, nil
}

// demoPayload is the size of the demo's own firmware, in bytes: a small sensor's.
const demoPayload = 48_000

func madeImage(d sim.DeviceConfig) demoImage {
	h := otafile.Header{
		ManufacturerCode: d.ManufacturerCode,
		ImageType:        d.ImageType,
		FileVersion:      d.FileVersion + 0x0100,
		StackVersion:     2,
	}
	copy(h.HeaderString[:], "Demo firmware for "+d.ModelID)
	payload := make([]byte, demoPayload)
	for i := range payload {
		payload[i] = byte(uint32(i)*2654435761>>13) ^ byte(d.ImageType)
	}
	file := otafile.Build(h, payload, otafile.WithIntegrityCode())
	h, _ = otafile.ParseHeader(file) // this cannot fail on the output of Build
	return demoImage{
		name: strings.ReplaceAll(d.ModelID, " ", "-") + ".ota", file: file, served: file, header: h,
	}
}

// givenImage reads an image from a file or a URL.
func givenImage(ctx context.Context, cfg config.Config, source, dir string) (demoImage, error) {
	if !strings.Contains(source, "://") {
		file, err := os.ReadFile(source)
		if err != nil {
			return demoImage{}, fmt.Errorf("reading the image: %w", err)
		}
		parsed, err := otafile.Parse(file)
		if err != nil {
			return demoImage{}, fmt.Errorf("%s: %w", source, err)
		}
		return demoImage{
			name: filepath.Base(source), file: file, served: parsed.Image, header: parsed.Header,
		}, nil
	}

	lib, err := library.Open(library.Options{
		Dir: dir, MaxBytes: cfg.Image.MaxBytes, FetchTimeout: cfg.Image.FetchTimeout,
	})
	if err != nil {
		return demoImage{}, err
	}

	image, err := lib.Fetch(ctx, library.Request{URL: source})
	if err != nil {
		return demoImage{}, err
	}
	data, err := lib.Load(image.SHA256)
	if err != nil {
		return demoImage{}, err
	}

	name := "image.ota"
	if u, err := url.Parse(source); err == nil && path.Base(u.Path) != "/" && path.Base(u.Path) != "." {
		name = path.Base(u.Path)
	}
	return demoImage{name: name, file: data, served: data, header: image.Header}, nil
}

// imageServer serves the demo's images over HTTP, as a manufacturer's site does.
type imageServer struct {
	listener net.Listener
	server   *http.Server
	done     chan struct{}
}

func serveImages(ctx context.Context, images map[message.IEEE]demoImage) (*imageServer, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the demo's image server: %w", err)
	}
	byName := map[string][]byte{}
	for _, im := range images {
		byName["/"+im.name] = im.file
	}
	s := &imageServer{listener: listener, done: make(chan struct{})}
	s.server = &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			file, ok := byName[r.URL.Path]
			if !ok {
				http.NotFound(w, r)
				return
			}
			http.ServeContent(w, r, r.URL.Path, time.Time{}, bytes.NewReader(file))
		}),
	}
	go func() {
		defer close(s.done)
		if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(os.Stderr, "the demo's image server has stopped:", err)
		}
	}()
	return s, nil
}

func (s *imageServer) url(name string) string {
	return fmt.Sprintf("http://%s/%s", s.listener.Addr(), url.PathEscape(name))
}

func (s *imageServer) close() {
	_ = s.server.Close()
	<-s.done
}

// unfinished lists the devices that do not hold exactly their image.
func unfinished(home *sim.Dongle, images map[message.IEEE]demoImage) []string {
	var wrong []string
	for _, euid := range slices.Sorted(maps.Keys(images)) {
		im := images[euid]
		d := home.Device(euid).Snapshot()
		if d.FileVersion != im.header.FileVersion || !bytes.Equal(d.Installed, im.served) {
			wrong = append(wrong,
				fmt.Sprintf("%v runs 0x%08x and not 0x%08x", euid, d.FileVersion, im.header.FileVersion))
		}
	}
	return wrong
}
