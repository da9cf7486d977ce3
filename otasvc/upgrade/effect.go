package upgrade

// Effect is something that the owner of an upgrade has to do.
type Effect interface{ effect() }

type (
	// Admit gives the device the right to blocks, before it can have heard of the image.
	Admit struct{}
	// Withdraw takes the device's right to blocks away.
	Withdraw struct{}
	// Abort has the device's block requests answered with ABORT from now on. It comes before Withdraw.
	Abort struct{}
	// Judge puts the upgrade's Verdict into force.
	Judge struct{}
	// Notify sends an image notify. The owner tells how that went with NotifySent or NotifyBusy.
	Notify struct {
		First bool // of this attempt
	}
	// SendLastBlock has the slot hold a header that fits nobody, and the last block sent to the device then.
	SendLastBlock struct{}
	// AnswerEnd sends an upgrade end response.
	AnswerEnd struct {
		Sequence    uint8
		FileVersion uint32
		UpgradeTime uint32 // seconds from now; message.UpgradeTimeWait tells the device to ask again later
	}
	// ReadVersion asks the device which file version it runs; the answer comes as VersionRead, whenever it
	// comes.
	ReadVersion struct {
		Awaited bool // ReadingDone is to say when the question is over
	}
	// MakeQuery sends an image notify so that the device looks for an image, and tells its version with that.
	MakeQuery struct{}
	// LookFor searches the network for the device.
	LookFor struct{}
	// DistrustSlot has the header loaded again.
	DistrustSlot struct{}
	// DistrustImage notes that the device has called the image invalid.
	DistrustImage struct{}
	// Begun says that the device asks for the image, and so has its manufacturer code and image type.
	Begun struct {
		GoesOn bool // the download had begun before
	}
	// Tell tells people that something happened.
	Tell struct {
		What   Happening
		Offset uint32 // bytes of the image that the device had when it happened
	}
	// Remark is for the log.
	Remark struct{ What Remarkable }
	// Changed says that what is told of the upgrade is different now.
	Changed struct{}
	// Save says that what is kept of the upgrade is different now.
	Save struct {
		AtOnce bool // it must not be lost by a crash
	}
	// GiveUpFetch says that nobody waits for the image any more on this upgrade's account.
	GiveUpFetch struct{}
	// Ended says that the upgrade is over: its reason, the final answers and its group are due.
	Ended struct{}
	// TakenBack says that the upgrade is over, and that only those are told who asked for it: its final
	// answers and its group are due. The upgrade that the device had before is what it has had last.
	TakenBack struct{}
)

func (Admit) effect()         {}
func (Withdraw) effect()      {}
func (Abort) effect()         {}
func (Judge) effect()         {}
func (Notify) effect()        {}
func (SendLastBlock) effect() {}
func (AnswerEnd) effect()     {}
func (ReadVersion) effect()   {}
func (MakeQuery) effect()     {}
func (LookFor) effect()       {}
func (DistrustSlot) effect()  {}
func (DistrustImage) effect() {}
func (Begun) effect()         {}
func (Tell) effect()          {}
func (Remark) effect()        {}
func (Changed) effect()       {}
func (Save) effect()          {}
func (GiveUpFetch) effect()   {}
func (Ended) effect()         {}
func (TakenBack) effect()     {}

// Happening is an event of an upgrade. The strings are part of the MQTT contract.
type Happening string

// Every event of an upgrade, but for its end.
const (
	ImageNotified    Happening = "imageNotified"
	DownloadStarted  Happening = "downloadStarted"
	DownloadProgress Happening = "downloadProgress"
	DownloadPaused   Happening = "downloadPaused"
	DownloadResumed  Happening = "downloadResumed"
	DownloadFinished Happening = "downloadFinished"
	UpgradeApplying  Happening = "upgradeApplying"
)

// Remarkable is something that people who read the log want to know.
type Remarkable uint8

// Everything that is remarkable.
const (
	TriedAgain    Remarkable = iota // a further attempt begins
	BeganAgain                      // the device asks for blocks from the beginning
	HeaderDoubted                   // the device is silent in mid-download
	NotHeld                         // the dongle has had the device install, though that was to wait
	NotHoldable                     // the installation cannot be held, so the upgrade is cancelled
	EndedEarly                      // the device calls its download complete too early
	NeverReleased                   // nobody has released the installation for longLimit
	WaitsForQuery                   // the device answers no notification, and has asked by itself before
)

// InstallIn is how many seconds after its upgrade end request a device is told to install: what the firmware
// says itself.
const InstallIn = 5
