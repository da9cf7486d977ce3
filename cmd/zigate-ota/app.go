package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/zigate-ota/zigate-ota/bridge"
	"github.com/zigate-ota/zigate-ota/bridge/broker"
	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/bridge/homeassistant"
	"github.com/zigate-ota/zigate-ota/bridge/httpapi"
	"github.com/zigate-ota/zigate-ota/bridge/metrics"
	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
	"github.com/zigate-ota/zigate-ota/bridge/promises"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/commandline"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/config"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/sending"
	"github.com/zigate-ota/zigate-ota/zigate"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/share"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// projectURL is where people find the program.
const projectURL = "https://github.com/zigate-ota/zigate-ota"

// app is the whole service, assembled from its configuration.
type app struct {
	cfg     config.Config
	log     *slog.Logger
	home    *sim.Dongle    // nil with a real dongle
	broker  *broker.Broker // nil with an external one
	client  *mqttclient.Client
	dongle  *zigate.Dongle
	hub     *share.Hub // nil where the dongle is not shared
	service *otasvc.Service
	catalog *library.Catalog
	bridge  *bridge.Bridge
	births  *bridge.Births // nil without discovery
	left    *bridge.Leftovers
	frames  *bridge.Frames // nil where frames are not published
	trace   *traceFile     // nil where frames are not written to a file
	http    *httpapi.Server
	ready   chan struct{}
	logger  *logger

	supervisor supervisor
	brokerDone chan struct{} // closed when the embedded broker has stopped, or could not start
}

// newApp assembles the parts, from the dongle and the images up to the page. home is the simulated dongle
// that is used where the configuration says "sim". Where home is nil, newApp makes a simulated dongle.
func newApp(cfg config.Config, logger *logger, home *sim.Dongle) (*app, error) {
	a := &app{
		cfg:        cfg,
		log:        logger.Logger,
		logger:     logger,
		ready:      make(chan struct{}),
		brokerDone: make(chan struct{}),
	}
	meters := metrics.New(version, commit)
	images, err := a.addService(home, meters)
	if err != nil {
		return nil, err
	}
	if err := a.addClient(meters); err != nil {
		return nil, err
	}
	feed, err := a.addBridge(meters)
	if err != nil {
		return nil, err
	}
	a.addHTTP(images, meters, feed)
	return a, nil
}

// addService makes the images, the service, and the dongle or what shares it.
func (a *app) addService(home *sim.Dongle, meters *metrics.Metrics) (*library.Library, error) {
	dialer, err := a.dialer(home)
	if err != nil {
		return nil, err
	}
	imageOptions, err := libraryOptions(a.cfg.Image, a.log)
	if err != nil {
		return nil, err
	}
	images, err := library.Open(imageOptions)
	if err != nil {
		return nil, fmt.Errorf("%w (ZIGATE_OTA_IMAGE_DIR)", err)
	}
	a.catalog, err = library.NewCatalog(images, library.CatalogOptions{
		Indexes: a.cfg.Image.Indexes.Locations(), Interval: a.cfg.Image.IndexInterval,
		MakerAliases: makerAliases(a.cfg.Image.MakerAliases),
	})
	if err != nil {
		return nil, fmt.Errorf("ZIGATE_OTA_IMAGE_INDEXES: %w", err)
	}
	a.log.Info("images come from the image folder, from indexes and from requests",
		"folder", a.cfg.Image.Dir, "indexes", a.cfg.Image.Indexes.String())

	policy := upgradePolicy(a.cfg.Upgrade, queryWatch(a.cfg.DongleQueryWatch))
	policy.Prefetch = a.cfg.Image.Prefetch
	policy.WatchOnly = a.cfg.Share.OTA == config.ShareOTAClient
	a.service, err = otasvc.New(otasvc.Options{
		Images:   images,
		Catalog:  a.catalog,
		Observer: meters,
		Logger:   a.log,
		StateDir: a.cfg.StateDir,
		Policy:   policy,
	})
	if err != nil {
		return nil, err
	}

	dongleOptions := zigate.Options{Dialer: dialer, Handler: a.service, Observer: meters, Logger: a.log}
	if a.cfg.Share.Enabled() {
		a.hub = share.New(dongleOptions, shareOptions(a.cfg.Share, meters))
		a.dongle = a.hub.Dongle()
	} else {
		a.dongle = zigate.NewDongle(dongleOptions)
	}
	return images, nil
}

// addClient makes the client of the MQTT broker, the broker itself where it is the embedded one, and what
// looks for leftovers at it.
func (a *app) addClient(meters *metrics.Metrics) error {
	tlsConfig, err := a.cfg.MQTT.TLS()
	if err != nil {
		return err
	}
	options := mqttclient.Options{
		URLs:     a.cfg.MQTT.URL,
		Username: a.cfg.MQTT.Username.Reveal(),
		Password: a.cfg.MQTT.Password.Reveal(),
		ClientID: a.cfg.MQTT.ClientID,
		TLS:      tlsConfig,
		Base:     a.cfg.MQTT.BaseTopic,
		Logger:   a.log,
		Observer: meters,
	}
	discovered := "" // the prefix below which an earlier run may have left discovery documents
	if a.cfg.HomeAssistant.Discovery {
		discovered = a.cfg.HomeAssistant.Prefix
		a.births = bridge.NewBirths(func() { a.client.RepublishAll() })
	}
	options.Subscriptions = a.subscriptions(discovered)
	if a.cfg.MQTT.Embedded() {
		options.OpenConnection = a.addBroker(meters)
	}
	if a.cfg.MQTT.Frames {
		options.OutboxLimit = mqttclient.OutboxLimit + bridge.FramesInOutbox
	}
	if a.client, err = mqttclient.New(options); err != nil {
		return err
	}

	a.left = bridge.NewLeftovers(a.topics(), discovered, a.client)
	if a.cfg.MQTT.Frames {
		a.frames = bridge.NewFrames(a.topics(), a.client, a.log)
		a.traceTo(nil)
	}
	return nil
}

// topics returns the service's topics.
func (a *app) topics() contract.Topics { return contract.Topics(a.cfg.MQTT.BaseTopic) }

// subscriptions returns what the service listens to at the broker.
func (a *app) subscriptions(discovered string) []mqttclient.Subscription {
	list := []mqttclient.Subscription{{
		Filter:   a.topics().Requests(),
		Commands: func(c mqttclient.Command) { a.bridge.HandleRequest(c) },
	}}
	if a.births != nil {
		list = append(list, mqttclient.Subscription{
			Filter:   homeassistant.BirthTopic(a.cfg.HomeAssistant.Prefix),
			Handler:  a.births.Handle,
			Optional: true,
		})
	}
	return append(list, bridge.LeftoverSubscriptions(a.topics(), discovered,
		func(topic string, payload []byte, retained, duplicate bool) {
			a.left.Handle(topic, payload, retained, duplicate)
		})...)
}

// addBroker makes the embedded broker, and returns how a connection to it is opened.
func (a *app) addBroker(meters *metrics.Metrics) func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
	a.broker = broker.New(broker.Options{
		Addr:         string(a.cfg.Broker.Addr),
		Username:     a.cfg.MQTT.Username.Reveal(),
		Password:     a.cfg.MQTT.Password.Reveal(),
		ServiceID:    cmp.Or(a.cfg.MQTT.ClientID, mqttclient.DefaultClientID(a.cfg.MQTT.BaseTopic)),
		RetainedFile: filepath.Join(a.cfg.StateDir, "retained.json"),
		SessionsFile: filepath.Join(a.cfg.StateDir, "sessions.jsonl"),
		Value:        func(topic string) ([]byte, bool) { return a.client.Value(topic) },
		Observer:     meters,
		Logger:       a.log,
	})
	return func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
		select { // both start at the same time
		case <-a.broker.Ready():
		case <-a.brokerDone:
		}
		return a.broker.Dial()
	}
}

// addBridge makes the bridge between the service and MQTT. It returns the feed from which
// HTTP tells the same.
func (a *app) addBridge(meters *metrics.Metrics) (*bridge.Feed, error) {
	feed := bridge.NewFeed()
	book, err := promises.Open(filepath.Join(a.cfg.StateDir, "requests.json"), a.log)
	if err != nil {
		return nil, err
	}
	options := bridge.Options{
		Topics:   a.topics(),
		Version:  version,
		Service:  a.service,
		Out:      a.client,
		Observer: meters,
		Logger:   a.log,
		Feed:     feed,
		Promises: book,
	}
	if a.cfg.HomeAssistant.Discovery {
		options.Discovery = &homeassistant.Options{
			Prefix:     a.cfg.HomeAssistant.Prefix,
			Base:       a.cfg.MQTT.BaseTopic,
			Version:    version,
			ProjectURL: projectURL,
		}
	}
	a.bridge = bridge.New(options)
	a.client.Expect(book.Deliveries())
	a.bridge.Resume()
	return feed, nil
}

// addHTTP makes the server of the API, the page, metrics and health.
func (a *app) addHTTP(images *library.Library, meters *metrics.Metrics, feed *bridge.Feed) {
	a.http = httpapi.New(httpapi.Options{
		Addr:          string(a.cfg.HTTP.Addr),
		Registry:      meters.Registry(),
		Drivers:       images.DriverHandler(),
		Logger:        a.log,
		Alive:         a.service.Alive,
		Checks:        a.checks(),
		Feed:          feed,
		Asker:         a.bridge,
		Images:        a.catalog,
		MaxImageBytes: a.cfg.Image.MaxBytes,
		LogLevel:      &a.logger.level,
		Token:         a.cfg.HTTP.Token.Reveal(),
		Proxies:       a.cfg.HTTP.TrustedProxies,
		Names:         machineNames(string(a.cfg.HTTP.Addr)),
	})
}

// checks returns the conditions under which upgrades can be done.
func (a *app) checks() []httpapi.Check {
	return []httpapi.Check{
		{Name: "dongle", Check: a.service.DongleHealth},
		{Name: "mqtt", Check: a.client.Health},
		{Name: "state", Check: a.service.StoreHealth},
	}
}

// dialer returns what opens the connection to the dongle.
func (a *app) dialer(home *sim.Dongle) (zigate.Dialer, error) {
	if a.cfg.Dongle == config.DongleSimulated {
		if home == nil {
			home = newSimulation(simulatedDevices(), 1)
		}
		a.home = home
		return home.Dialer("sim"), nil
	}
	dialer, err := zigate.NewDialer(string(a.cfg.Dongle), a.cfg.DongleBaud)
	if err != nil {
		return nil, fmt.Errorf("ZIGATE_OTA_DONGLE: %w", err)
	}
	return dialer, nil
}

// alive asks the service over HTTP, so that both its HTTP server and its main loop are checked. The
// connection is one inside the process: however many others are open, that is no reason for a restart.
func (a *app) alive(ctx context.Context) error {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return a.http.Dial(ctx) }
	_, err := askHealth(ctx, dial, a.httpAddr(), "/healthz")
	return err
}

// status returns the state of the service in one line.
func (a *app) status() string {
	var trouble []string
	for _, check := range a.checks() {
		if err := check.Check(); err != nil {
			trouble = append(trouble, check.Name+": "+err.Error())
		}
	}
	if len(trouble) == 0 {
		return "ready for upgrades"
	}
	return strings.Join(trouble, "; ")
}

// supervise reports the state of the service to systemd, where systemd has started it.
func (a *app) supervise(ctx context.Context) error {
	s := a.supervisor
	s.alive = a.alive
	s.status = a.status
	s.ready = a.ready
	s.log = a.log
	return s.Run(ctx)
}

// traceTo hands the dongle's frames to MQTT, where they are published, and to the file, which may be nil.
func (a *app) traceTo(file *traceFile) {
	a.trace = file
	a.dongle.TraceTo(func(dir message.Direction, f message.Frame) {
		if a.frames != nil {
			a.frames.Trace(dir, f)
		}
		if file != nil {
			file.Trace(dir, f)
		}
	})
}

// taskFunc makes a task of a function.
type taskFunc func(ctx context.Context) error

func (f taskFunc) Run(ctx context.Context) error { return f(ctx) }

// Run runs everything until ctx is done or a part fails. It stops in reverse: first HTTP and the service,
// which still sends commands to the dongle, then the sharing of the dongle and its connection, then the
// MQTT client, which still publishes what those did, then the embedded broker and the simulated dongle.
func (a *app) Run(ctx context.Context) error {
	base := []task{a.logger, a.bridge}
	if a.broker != nil {
		base = append(base, taskFunc(func(ctx context.Context) error {
			defer close(a.brokerDone)
			return a.broker.Run(ctx)
		}))
	}

	if a.home != nil {
		base = append(base, a.home)
	}
	var radio sending.Radio = a.dongle
	dongle := [][]task{{a.dongle}}
	if a.hub != nil {
		radio = a.hub
		dongle = append(dongle, []task{a.hub})
	}

	service := taskFunc(func(ctx context.Context) error { return a.service.Run(ctx, radio, a.bridge) })
	work := []task{service, a.left, a.catalog, a.http, taskFunc(a.announceReady), taskFunc(a.supervise)}
	if a.births != nil {
		work = append(work, a.births)
	}

	stages := [][]task{base, {a.client}}
	if a.frames != nil {
		stages = append(stages, []task{a.frames})
	}
	if a.trace != nil {
		stages = append(stages, []task{a.trace})
	}
	return runStages(ctx, append(append(stages, dongle...), work)...)
}

// announceReady closes ready when all servers listen.
func (a *app) announceReady(ctx context.Context) error {
	waits := []<-chan struct{}{a.http.Ready()}
	if a.broker != nil {
		waits = append(waits, a.broker.Ready())
	}
	if a.hub != nil {
		waits = append(waits, a.hub.Ready())
	}
	for _, w := range waits {
		select {
		case <-w:
		case <-ctx.Done():
			return nil
		}
	}
	close(a.ready)
	where := []any{
		"version", version, "mqtt", a.brokerURLs(), "topics", a.cfg.MQTT.BaseTopic + "/#",
		"http", a.httpAddr(),
	}
	if a.hub != nil && a.hub.Addr() != nil {
		where = append(where, "share", reachable(a.hub.Addr().String()))
	}
	a.log.Info("ready", where...)
	return nil
}

// Ready is closed when the service can be reached.
func (a *app) Ready() <-chan struct{} { return a.ready }

// brokerURLs returns the URLs under which other clients reach the broker that the service uses.
func (a *app) brokerURLs() []string {
	if a.broker == nil {
		return a.cfg.MQTT.URL
	}
	if addr := a.broker.Addr(); addr != nil {
		return []string{"tcp://" + reachable(addr.String())}
	}
	return nil
}

func (a *app) httpAddr() string {
	if addr := a.http.Addr(); addr != nil {
		return reachable(addr.String())
	}
	return string(a.cfg.HTTP.Addr)
}

// serve runs the service.
func (p *program) serve(ctx context.Context, s commandline.Serve) error {
	cfg, err := p.config()
	if err != nil {
		return err
	}
	defer runtime.KeepAlive(tuneRuntime())
	go returnMemory(ctx)
	log := newLogger(p.stderr, cfg.Log)
	log.Info("zigate-ota starts", "version", version, "dongle", cfg.Dongle, "state", cfg.StateDir)
	a, err := newApp(cfg, log, nil)
	if err != nil {
		return err
	}
	if s.Trace != "" {
		file, err := newTraceFile(s.Trace)
		if err != nil {
			return err
		}
		a.traceTo(file)
	}
	a.supervisor = newSupervisor(p.environ)
	err = a.Run(ctx)
	if err == nil {
		log.Info("stopped")
	}
	return err
}
