package contract

// ValueKind says how the value of a request's key is written.
type ValueKind int

// Every kind of value.
const (
	// ValueDevice names a device: by its EUID (with or without 0x, colons or dashes, in any case), by its
	// network address (a number, or a text such as "0x4f4f"), or by its name.
	ValueDevice ValueKind = iota
	// ValueDeviceOrAll is a ValueDevice, or "all".
	ValueDeviceOrAll
	// ValueNumber is a whole number from Least to Most, or a text with one, decimal or hexadecimal with 0x.
	ValueNumber
	// ValueText is a text of Least to Most bytes.
	ValueText
	// ValueName is a name for a device: a text of 1 to 64 characters, not all blanks, none of them a control
	// or formatting character, that looks neither like an EUID nor like a network address, and is not "all".
	// No other device has one that differs only in case or blanks.
	ValueName
	// ValueDigest is a text of Most hexadecimal digits, in any case.
	ValueDigest
	// ValueURL is an http, https, file or controller URL of Least to Most bytes.
	ValueURL
	// ValueBoolean is true or false.
	ValueBoolean
	// ValueStart says when an upgrade may begin: "now", "window", or a time (RFC 3339).
	ValueStart
	// ValueInstall says when a device installs: "now", "hold", or a time (RFC 3339).
	ValueInstall
)

// Key is a key that a request may have.
type Key struct {
	// Name is the key itself.
	Name string
	// Kind says how its value is written.
	Kind ValueKind
	// Least and Most bound the value, both included: see the kinds.
	Least, Most uint64
	// Nullable says that the value may be null, which takes back what was set.
	Nullable bool
}

// Operation is what can be asked for by a request. Besides its own keys each request may have a transaction.
type Operation struct {
	// Name is the operation's name in the topics.
	Name string
	// Response is the operation's name in the responses.
	Response string
	// Required are the keys that a request has to have.
	Required []Key
	// Optional are the keys that a request may have.
	Optional []Key
	// OfDevice says that the responses carry the [OperationRecord], even where no device was found.
	OfDevice bool
}

// Keys returns all keys of the operation, but for the transaction.
func (o Operation) Keys() []Key {
	keys := make([]Key, 0, len(o.Required)+len(o.Optional))
	keys = append(keys, o.Required...)
	return append(keys, o.Optional...)
}

// KeyTransaction is the key that every request may have and that comes back in its responses.
const KeyTransaction = "transaction"

// Bounds of requests.
const (
	// MaxRequest is the length of the longest payload of a request, in bytes.
	MaxRequest = 64 << 10
	// MaxTransaction is the length of the longest transaction, in bytes: of the value of a string, without
	// its quotes and escapes, or of a number as it is written.
	MaxTransaction = 128
)

// Operations lists everything that can be asked for. Each call returns lists of its own.
func Operations() []Operation {
	device := Key{Name: "deviceId", Kind: ValueDevice}
	deviceOrAll := Key{Name: "deviceId", Kind: ValueDeviceOrAll}
	url := Key{Name: "url", Kind: ValueURL, Least: 1, Most: 2048}
	manufacturerCode := Key{Name: "mfgId", Kind: ValueNumber, Most: 0xFFFF}
	imageType := Key{Name: "imageTypeId", Kind: ValueNumber, Most: 0xFFFF}
	imageVersion := Key{Name: "imageVersion", Kind: ValueNumber, Most: 0xFFFFFFFF}
	sha256 := Key{Name: "sha256", Kind: ValueDigest, Most: 64}
	sha512 := Key{Name: "sha512", Kind: ValueDigest, Most: 128}
	currentTime := Key{Name: "currentTime", Kind: ValueNumber, Most: 0xFFFFFFFF}

	return []Operation{
		{
			Name: "service_status", Response: "serviceStatusResponse",
			Optional: []Key{device},
		},
		{
			Name: "add_image", Response: "addImageResponse", OfDevice: true,
			Required: []Key{device, url},
			Optional: []Key{
				manufacturerCode, imageType,
				{Name: "driverTypeId", Kind: ValueText, Most: 255},
				{Name: "version", Kind: ValueNumber, Most: 0xFFFFFFFF},
				sha256, sha512,
				{Name: "upgrade", Kind: ValueBoolean},
			},
		},
		{
			Name: "remove_image", Response: "removeImageResponse", OfDevice: true,
			Required: []Key{device, imageType},
		},
		{
			Name: "image_info", Response: "imageInfoResponse", OfDevice: true,
			Required: []Key{device},
			Optional: []Key{imageType},
		},
		{
			Name: "upgrade", Response: "upgradeResponse", OfDevice: true,
			Required: []Key{deviceOrAll},
			Optional: []Key{
				imageType, url, sha256, sha512, imageVersion,
				{Name: "allowDowngrade", Kind: ValueBoolean},
				{Name: "force", Kind: ValueBoolean},
				{Name: "when", Kind: ValueStart},
				{Name: "apply", Kind: ValueInstall},
			},
		},
		{
			Name: "cancel", Response: "cancelResponse", OfDevice: true,
			Required: []Key{deviceOrAll},
		},
		{
			Name: "pause", Response: "pauseResponse", OfDevice: true,
			Required: []Key{device},
			Optional: []Key{{Name: "seconds", Kind: ValueNumber, Least: 1, Most: 86400}},
		},
		{
			Name: "resume", Response: "resumeResponse", OfDevice: true,
			Required: []Key{device},
		},
		{
			Name: "check", Response: "checkResponse",
			Optional: []Key{deviceOrAll, imageType},
		},
		{
			Name: "interview", Response: "interviewResponse", OfDevice: true,
			Required: []Key{device},
		},
		{
			Name: "rename", Response: "renameResponse", OfDevice: true,
			Required: []Key{device, {Name: "name", Kind: ValueName}},
		},
		{
			Name: "configure", Response: "configureResponse", OfDevice: true,
			Required: []Key{device},
			Optional: []Key{
				{Name: "excluded", Kind: ValueBoolean, Nullable: true},
				{Name: "blockSize", Kind: ValueNumber, Least: 1, Most: 64, Nullable: true},
				{Name: "blockIntervalMs", Kind: ValueNumber, Most: 60_000, Nullable: true},
				{Name: "stallTimeoutSeconds", Kind: ValueNumber, Least: 1, Most: 604_800, Nullable: true},
				{Name: "notifyAttempts", Kind: ValueNumber, Least: 1, Most: 100_000, Nullable: true},
			},
		},
		{
			Name: "forget", Response: "forgetResponse", OfDevice: true,
			Required: []Key{device},
		},

		// Each of these sends one frame to the dongle.
		{
			Name: "load_image", Response: "loadImageResponse", OfDevice: true,
			Optional: []Key{device, url}, // one of the two
		},
		{
			Name: "image_notify", Response: "imageNotifyResponse", OfDevice: true,
			Required: []Key{device},
			Optional: []Key{
				{Name: "payloadType", Kind: ValueNumber, Most: 3},
				imageVersion, imageType, manufacturerCode,
				{Name: "queryJitter", Kind: ValueNumber, Least: 1, Most: 100},
			},
		},
		{
			Name: "upgrade_end", Response: "upgradeEndResponse", OfDevice: true,
			Required: []Key{device},
			Optional: []Key{
				{Name: "upgradeTime", Kind: ValueNumber, Most: 0xFFFFFFFF},
				currentTime, imageVersion, imageType, manufacturerCode,
			},
		},
		{
			Name: "wait_for_data", Response: "waitForDataResponse", OfDevice: true,
			Required: []Key{device},
			Optional: []Key{
				currentTime,
				{Name: "requestTime", Kind: ValueNumber, Most: 0xFFFFFFFF},
				{Name: "blockRequestDelay", Kind: ValueNumber, Most: 0xFFFF},
			},
		},
	}
}
