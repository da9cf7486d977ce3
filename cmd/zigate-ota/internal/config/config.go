package config

import (
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
)

// envPrefix begins the name of every variable of the service.
const envPrefix = "ZIGATE_OTA"

// Config is everything that can be set from outside, in the order in which it is documented. Variables are
// named by the fields (envconfig, prefix ZIGATE_OTA_), so a field's name is part of the contract with
// users.
//
// The tags say everything about a variable: default, desc (its meaning), and what is allowed, as oneof (a
// list of words), min and max (numbers and durations), or allowed (in words, where the field's type
// decides). The tag fallback describes a default that is found out at run time; heading begins a group;
// file:"true" gives the variable a twin with the suffix _FILE that names a file to read the value from.
type Config struct {
	Dongle           DongleAddress `default:"auto" heading:"The dongle" desc:"Where the ZiGate is: \"auto\" looks for a USB dongle by vendor and product, a path names a serial port (prefer /dev/serial/by-id/...), tcp:// a ZiGate WiFi or a serial server (port 9999 where none is given), \"sim\" is a simulated dongle with simulated devices." allowed:"auto, an absolute path such as /dev/ttyUSB0, tcp://host or tcp://host:port, sim"`
	DongleBaud       int           `split_words:"true" default:"115200" desc:"Speed of the serial port, in baud. Every ZiGate as sold uses the default." oneof:"9600,19200,38400,57600,115200,230400,460800,500000,921600,1000000"`
	DongleQueryWatch QueryWatch    `split_words:"true" default:"idle" desc:"When the dongle runs in its hybrid raw mode, which shows what devices ask for (so that it is learnt who they are and what they run, and a sleeping device is caught awake) but costs an extra frame on air for each one received: never, while nothing downloads, or always. Where it is never wanted, and with firmware up to 3.1c, which has none, the dongle's raw mode is used instead, while nothing downloads: with off only for the moment in which devices are asked who they are." oneof:"off,idle,always"`

	Share ShareConfig

	MQTT          MQTTConfig
	Broker        BrokerConfig
	HomeAssistant HomeAssistantConfig
	HTTP          HTTPConfig

	StateDir string `split_words:"true" heading:"State" fallback:"$STATE_DIRECTORY (systemd sets it), else $XDG_STATE_HOME/zigate-ota, else ~/.local/state/zigate-ota" desc:"Folder for what has to survive a restart: devices, names, queue, registered images." allowed:"a folder"`

	Image   ImageConfig
	Upgrade UpgradeConfig
	Log     LogConfig

	sources map[string]Source // by variable; nil in a Config that was not loaded
}

// MQTTConfig is the connection to the broker, and what is published there.
type MQTTConfig struct {
	URL       BrokerURLs `heading:"MQTT" desc:"The broker. Several, separated by commas, are tried one after the other. Empty: the service runs its own, see ZIGATE_OTA_BROKER_ADDR." allowed:"tcp://, mqtt://, ssl://, mqtts://, tls://, ws:// or wss://, each with host and optional port, separated by commas"`
	Username  Secret     `file:"true" desc:"User name at the broker." allowed:"any text"`
	Password  Secret     `file:"true" desc:"Password at the broker." allowed:"any text, together with ZIGATE_OTA_MQTT_USERNAME"`
	ClientID  string     `split_words:"true" fallback:"the base topic, or its beginning and a digest where it has more than letters, digits, - and _" desc:"Client identifier at the broker; no two clients of a broker may share one." allowed:"1 to 128 printable characters"`
	BaseTopic string     `split_words:"true" default:"zigate-ota" desc:"Topic that everything of this service lies below. Several services may share a broker under different base topics." allowed:"1 to 200 bytes, without + and #, without a slash at either end, not beginning with $"`
	Frames    bool       `default:"false" desc:"Publish every ZiGate frame below <base>/frame, for debugging."`
	CAFile    string     `split_words:"true" desc:"Certificates (PEM) of the authorities that the broker's certificate is checked against, instead of the system's." allowed:"a readable file; needs a TLS address (ssl:// or wss://) in ZIGATE_OTA_MQTT_URL"`
	CertFile  string     `split_words:"true" desc:"Client certificate (PEM)." allowed:"a readable file, together with ZIGATE_OTA_MQTT_KEY_FILE"`
	KeyFile   string     `split_words:"true" desc:"Private key (PEM) of the client certificate." allowed:"a readable file, together with ZIGATE_OTA_MQTT_CERT_FILE"`
}

// Embedded reports whether the service runs its own broker, because no other one is named.
func (c MQTTConfig) Embedded() bool { return len(c.URL) == 0 }

// BrokerConfig is the embedded broker.
type BrokerConfig struct {
	Addr Address `default:"127.0.0.1:1883" heading:"The embedded broker, used where ZIGATE_OTA_MQTT_URL is empty" desc:"Address that it listens on. Anything but a loopback address opens it to the network." allowed:"host:port or :port"`
}

// HomeAssistantConfig is the discovery of devices by Home Assistant.
type HomeAssistantConfig struct {
	Discovery bool   `default:"true" heading:"Home Assistant" desc:"Publish discovery messages, so that the devices appear by themselves."`
	Prefix    string `default:"homeassistant" desc:"Topic below which Home Assistant looks for them." allowed:"1 to 200 bytes, without + and #, without a slash at either end, not beginning with $"`
}

// HTTPConfig is the HTTP server: metrics, health, API and page.
type HTTPConfig struct {
	Addr           Address  `default:"127.0.0.1:8501" heading:"HTTP: metrics, health, API, page" desc:"Address that it listens on." allowed:"host:port or :port"`
	Token          Secret   `file:"true" desc:"Token that a request must carry to change anything. Without one, changes are accepted from loopback addresses only." allowed:"printable ASCII characters without spaces"`
	TrustedProxies Networks `split_words:"true" desc:"Proxies in front, separated by commas: what the header X-Forwarded-For of a request from there says of where it comes from is believed. No request from there counts as one from this machine." allowed:"IP addresses and networks such as 172.30.32.0/23, separated by commas"`
}

// ImageConfig says where images come from.
type ImageConfig struct {
	Dir           string        `heading:"Images" fallback:"the folder images below the state folder" desc:"Folder of the images. It is watched: a file that is put here is found at once. Files in driver/<name>/ below it are served as controller://driver/<name>/<file>." allowed:"a folder other than the state folder itself"`
	Indexes       ImageIndexes  `default:"zigbee2mqtt" desc:"Indexes that list images, as names, URLs or paths, separated by commas; the first that has an image for a device wins. zigbee2mqtt is the public collection of Zigbee2MQTT, zigbee2mqtt-old its older images (for downgrades), zigpy the one of zigpy; ikea, ledvance and sonoff are those makers' own. none: images come from the image folder and from requests alone." allowed:"zigbee2mqtt, zigbee2mqtt-old, zigpy, ikea, ledvance, sonoff, http:// or https:// URLs and paths, separated by commas; none"`
	IndexInterval time.Duration `split_words:"true" default:"24h" desc:"How often the index files are read again." min:"1m" max:"8760h"`
	Prefetch      bool          `default:"false" desc:"Fetch an image that an index lists as soon as it is an update for a device, before anybody asks for it."`
	MakerAliases  MakerAliases  `split_words:"true" desc:"Names of manufacturers that mean the same, besides those that are known: what an index calls one, and what its devices report. Case and blanks make no difference." allowed:"name=name, separated by commas"`
	MaxBytes      int64         `split_words:"true" default:"16777216" desc:"Largest image that is fetched, in bytes." min:"1024" max:"4294967295"`
	AllowedHosts  HostPatterns  `split_words:"true" desc:"Hosts that images may come from, separated by commas; *.example.org means every host below example.org, * every host. Empty: all. A host that is named here itself may be this machine or one in a private network; others only where their name says so, such as nas.local (docs/security.md)." allowed:"host names, IP addresses, *.domain and *, separated by commas"`
	FetchTimeout  time.Duration `split_words:"true" default:"2m" desc:"How long a download may go without a byte." min:"100ms" max:"1h"`
	CAFile        string        `split_words:"true" desc:"Certificates (PEM) of authorities that https:// servers of images and indexes may have theirs from, besides the system's." allowed:"a readable file with certificates"`
	DirectorURL   HTTPURL       `split_words:"true" default:"http://director" desc:"Server for controller:// addresses whose file is not in the service's own driver folder." allowed:"an http:// or https:// URL"`
}

// UpgradeConfig says how, when and in which order devices are upgraded.
type UpgradeConfig struct {
	Concurrency    Concurrency   `default:"auto" heading:"Upgrades" desc:"Devices that download at once. auto: as many as the line to the dongle and its radio take. It begins with 4, and is never more than 16." allowed:"auto, or a whole number from 1 to 256"`
	BlockSize      int           `split_words:"true" default:"64" desc:"Largest block of an image, in bytes. A device may ask for less; more does not fit into one radio frame." min:"1" max:"64"`
	BlockInterval  time.Duration `split_words:"true" default:"0" desc:"Shortest time between two blocks of a device; leaves air time to others." min:"0s" max:"1m"`
	NotifyInterval time.Duration `split_words:"true" default:"15s" desc:"Time between two offers of an image to a device that does not ask for it." min:"100ms" max:"24h"`
	NotifyAttempts int           `split_words:"true" default:"20" desc:"Offers before the upgrade fails as noResponse. A sleeping device is waited for until it wakes." min:"1" max:"100000"`
	StallTimeout   time.Duration `split_words:"true" default:"5m" desc:"Time without a block request after which a download has stalled. For sleeping devices it is at least 1h." min:"100ms" max:"168h"`
	RejoinTimeout  time.Duration `split_words:"true" default:"15m" desc:"Time from the end of the download until the new version must have been seen." min:"100ms" max:"168h"`
	Retries        int           `default:"2" desc:"New attempts after stalled, noResponse or deviceAborted. One that got further than all before it does not count." min:"0" max:"100"`
	Slice          time.Duration `default:"30m" desc:"A download that would take longer than this gives way to quicker ones that wait." min:"100ms" max:"168h"`
	Overlap        Overlap       `default:"auto" desc:"Several images at once, for devices that are known not to mind that the dongle holds another image." oneof:"auto,off"`
	Canary         bool          `default:"true" desc:"An image that no device here has been seen to run is given to one device first, to the others when that runs it."`
	MinBattery     int           `split_words:"true" default:"0" desc:"Battery level, in percent, below which a battery device is not upgraded (batteryLow)." min:"0" max:"100"`
	Window         Window        `desc:"Time of day, local time, for upgrades that wait for the window. It may span midnight. Empty: always open." allowed:"HH:MM-HH:MM, such as 02:00-05:00"`
	Policy         Policy        `default:"manual" desc:"manual: upgrades are asked for. auto: every device with a newer image is upgraded, in the window." oneof:"manual,auto"`
	Unsolicited    Unsolicited   `default:"refuse" desc:"Whether a device is refused or served that asks for the loaded image without having an upgrade: the dongle offers the image to every device of that type." oneof:"refuse,serve"`
}

// LogConfig says what is written to standard error.
type LogConfig struct {
	Level  slog.Level `default:"info" heading:"Log" desc:"Least severe message that is written." oneof:"debug,info,warn,error"`
	Format LogFormat  `default:"text" desc:"One line of text, or one JSON object, a message." oneof:"text,json"`
}

// Load makes the configuration from an environment ("NAME=value", as [os.Environ] gives it; the first of
// two entries with one name counts, as in a process). It reads no variables without the prefix ZIGATE_OTA_,
// except those that say where state is kept (STATE_DIRECTORY, XDG_STATE_HOME, HOME). An empty value is no
// value.
//
// The error names every mistake, one a line: the variable, what is wrong with it, what is allowed. It
// never holds the value of a secret. The files that variables name (secrets, certificates) are read;
// nothing is written.
func Load(environ []string) (Config, error) {
	var c Config
	c.sources = make(map[string]Source)
	env := newEnvironment(environ)
	settings := settingsOf(&c)
	found := make(mistakes)
	for _, s := range settings {
		text, source, err := env.text(s)
		if err == nil && text != "" {
			err = s.set(text)
		}
		found.add(s.name, err)
		c.sources[s.name] = source
	}
	c.fill(env, found)
	c.check(found)
	if err := errors.Join(append(found.inOrder(settings), env.unknown(settings)...)...); err != nil {
		return Config{}, err
	}
	return c, nil
}

// fill sets the settings that have no fixed default, and makes folders absolute.
func (c *Config) fill(env environment, found mistakes) {
	if c.StateDir == "" {
		c.StateDir = env.stateDir()
	}
	if c.StateDir == "" {
		found.addf(stateDirVariable,
			"not set, and none of STATE_DIRECTORY, XDG_STATE_HOME and HOME tells where state is kept")
		return
	}
	c.StateDir = absolute(c.StateDir, stateDirVariable, found)
	if c.Image.Dir == "" {
		c.Image.Dir = filepath.Join(c.StateDir, "images")
	}
	c.Image.Dir = absolute(c.Image.Dir, imageDirVariable, found)
	if c.MQTT.ClientID == "" {
		c.MQTT.ClientID = mqttclient.DefaultClientID(c.MQTT.BaseTopic)
	}
}

func absolute(dir, variable string, found mistakes) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		found.addf(variable, "%q cannot be made absolute: %w", dir, err)
	}
	return abs
}
