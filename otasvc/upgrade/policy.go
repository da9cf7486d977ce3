package upgrade

import "time"

// Policy is how one device's upgrade is done.
type Policy struct {
	NotifyInterval time.Duration // between two image notifications
	NotifyAttempts int           // notifications in vain before an attempt ends with noResponse
	StallTimeout   time.Duration // without a block request before an attempt ends with stalled
	StallSet       bool          // a person has set StallTimeout for the device, so it holds though it sleeps
	Silence        time.Duration // how long the device may be silent of its own making in mid-download
	RejoinTimeout  time.Duration // from the end of the download to the new version seen
	BlockInterval  time.Duration // shortest time between two blocks; 0 stands for as fast as the device asks
	Retries        int           // further attempts
	Slice          time.Duration // the least time in which a device that is heard goes before others once
	Sleepy         bool          // the device sleeps most of the time, and hears only when it wakes
	// AsksByItself says that the device was seen to ask for an image although nobody had notified it.
	AsksByItself bool
}

// isWaitedFor reports whether a device that does not answer its notifications is waited for: it will wake, or
// ask by itself.
func (p *Policy) isWaitedFor() bool { return p.Sleepy || p.AsksByItself }

// How long things are waited for.
const (
	// awakeFor is how long a sleeping device that was heard is taken to listen: its parent keeps messages for
	// about 7 s.
	awakeFor = 7 * time.Second
	// activeLimit is how long an upgrade that has begun waits for the dongle, or for room for a notification.
	activeLimit = 24 * time.Hour
	// longLimit is how long anything waits that only waits: a queued upgrade for the dongle, a sleeping
	// device to wake, a held installation to be released, a paused download to be resumed.
	longLimit = 30 * 24 * time.Hour
	// lookInterval is how often a device is looked for whose network address is not known, and lookLimit for
	// how long. One that sleeps is looked for until longLimit, since it may answer only when it wakes.
	lookInterval = 5 * time.Minute
	lookLimit    = time.Hour
	// recoverTime lets a device that gave up recover before it is offered the image again.
	recoverTime = 10 * time.Second
	// returnGrace is the least time that a device has to be heard again once the dongle or the service is
	// back.
	returnGrace = 30 * time.Second
	// resumeGrace is how long nothing is said of a download that was under way when an earlier life of the
	// service ended.
	resumeGrace = 30 * time.Second
	// longestHold is the longest that a paused device is told to wait at a time before it asks again. It is
	// short enough that a resume takes effect soon, and long enough that a paused device costs no air time
	// worth naming.
	longestHold = 30 * time.Second
	// emptySlotTime is how long the slot stays empty for a device that is given its last block.
	emptySlotTime = 30 * time.Second
	// restartsAllowed is how often a device may begin its download again within one attempt. One that falls
	// silent, is notified and begins again, over and over, must come to an end.
	restartsAllowed = 20
)

// A sleeping device is waited for until it wakes, and one that is deaf to notifications and asks by itself
// until it does so: first as any other, then with rare notifications, to one that sleeps also each time that
// it is heard, for longLimit at most.
const (
	sleepyStall          = time.Hour // a sleeping device may ask for blocks once an hour only
	sleepyNotifyInterval = 5 * time.Minute
	notifyAgain          = 10 * time.Second // after a sign of life, if the last notification is older
	// distrustEvery is after how many notifications without an answer the header is loaded again.
	distrustEvery = 4
)

// How the version is read after a download. The dongle lets the device install after 5 s; a device that
// copies its image needs minutes. Each reading costs a message on air.
const (
	firstReading    = 20 * time.Second
	readingInterval = 30 * time.Second
	readingReturned = 10 * time.Second // between readings of a device that has come back
	readingSoon     = time.Second      // after a sign of life
	// oldReadingsToBelieve is how often a device that is back is asked before it is said to have kept its old
	// version: some announce themselves first from the boot loader's side of the installation.
	oldReadingsToBelieve = 3
	// otherReadingsToBelieve is how often a device has to tell one version that is neither its old one nor
	// the image's before it is taken for the image's.
	otherReadingsToBelieve = 2
	// sameVersionSettled is when a device that installs the version which it runs anyway, or that tells
	// another version than the image's, counts as done without an announce.
	sameVersionSettled = time.Minute
)

// noVersion is told by devices that do not know what they run (ZCL, attribute 0x0002 of the OTA cluster).
const noVersion = 0xFFFFFFFF

// How often progress is told: when it moved by a percent or ten seconds have passed, never more than once a
// second.
const (
	progressStep    = 1.0 // percent
	progressMinimum = time.Second
	progressMaximum = 10 * time.Second
	// progressLook is how often the owner looks at the progress of a download.
	progressLook = 250 * time.Millisecond
	// saveStep is how far a download moves, in percent, before its progress is saved.
	saveStep = 10.0
)

// Silence in mid-download makes the dongle's header doubtful: a dongle that was reset without saying so
// refuses blocks, and devices that are refused stop asking. Loading the header again does no harm; then the
// device is notified, for it has given up if that is what happened. A device that stops at the same place
// again has other reasons, and is left to the stall timeout. Or it has everything, and installs or runs it,
// while its upgrade end request and its announce were lost: it is asked what it runs.
//
// A device that still asks for blocks must not be notified: with most stacks an image that is offered anew
// begins again at 0. So the notification comes only when nearly all of them have given up by themselves: a
// minute after the last request, though the shortest silence that ends a download is shorter. A device that
// is known to be silent for long of its own making is left alone for as long, too.
const (
	suspectAfter    = 20 * time.Second
	suspectInterval = time.Minute
	suspectNotify   = 40 * time.Second // from the loading of the header to the notification
)

// hearFirst is how long a device may be about to ask for blocks by itself before it is offered anything:
// after a restart of the service, after the dongle was away, and after it was refused a block. Devices repeat
// a request after 3 to 11 s. One that was switched off and on needs a little longer, and goes on by itself if
// it can.
const (
	hearFirst      = 20 * time.Second
	announceNotify = 30 * time.Second // from an announcement in mid-download to the notification
)

// stallTimeout is how long a device may be silent in mid-download.
func (p *Policy) stallTimeout() time.Duration {
	if p.Sleepy && !p.StallSet {
		return max(p.StallTimeout, sleepyStall)
	}
	return p.StallTimeout
}

// goneSilent is after how long a silence a device does not ask for blocks by itself any more, but has to be
// offered the image again.
func (p *Policy) goneSilent() time.Duration { return p.suspectTimeout() + suspectNotify + p.Silence }

// suspectTimeout is how long a device may be silent before the header is doubted.
func (p *Policy) suspectTimeout() time.Duration {
	timeout := suspectAfter + 2*p.BlockInterval
	if p.Sleepy {
		timeout += sleepyNotifyInterval
	}
	return timeout
}

// readAfter is a pause between readings that leaves room for several before the time to come back has run
// out.
func (p *Policy) readAfter(d time.Duration) time.Duration {
	return max(min(d, p.RejoinTimeout/6), time.Second)
}
