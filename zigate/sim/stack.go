package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// Stack is the Zigbee stack from which a device has its OTA client. The zero value is none of them: a client
// that obeys the ZCL specification in the simplest way, of which the fields of DeviceConfig say the rest.
type Stack uint8

// The stacks whose OTA client is known, with the defaults of their makers' source. Manufacturers of devices
// change some of these; the fields of DeviceConfig do that here.
const (
	NoStack     Stack = iota
	Ember             // Silicon Labs Ember, Simplicity SDK
	NXP               // NXP JN516x, JN517x and JN518x
	Telink            // Telink Zigbee SDK
	TI                // Texas Instruments Z-Stack
	BitCloud          // Atmel and Microchip BitCloud
	Exegin            // Exegin, in STM32WB
	ZBOSS             // DSR ZBOSS, as Nordic and Espressif have it
	Trident           // the variant of ZBOSS of Trident IoT
	EspressifV2       // the client of Espressif's own stack, version 2
)

// Stacks lists every stack by name, without NoStack.
func Stacks() []Stack {
	return []Stack{Ember, NXP, Telink, TI, BitCloud, Exegin, ZBOSS, Trident, EspressifV2}
}

// ParseStack finds a stack by what String gives, in any case.
func ParseStack(name string) (Stack, error) {
	var names []string
	for _, s := range append(Stacks(), NoStack) {
		if strings.EqualFold(s.String(), strings.TrimSpace(name)) {
			return s, nil
		}
		names = append(names, s.String())
	}
	return NoStack, fmt.Errorf("no simulated stack %q: use one of %s", name, strings.Join(names, ", "))
}

// String names the stack: "ember", "nxp", "telink", "ti", "bitcloud", "exegin", "zboss", "trident",
// "espressif2", or "none".
func (s Stack) String() string { return s.traits().name }

func (s Stack) traits() *stackTraits {
	if int(s) >= len(stackTable) {
		s = NoStack
	}
	return &stackTable[s]
}

// stackTraits has the differences between the OTA clients of stacks that a server can notice.
type stackTraits struct {
	name     string
	requests requestTraits
	silence  silenceTraits
	refusals refusalTraits
	blocks   blockTraits
	waits    waitTraits
	queries  queryTraits
	notify   notifyTraits
	end      endTraits
	install  installTraits
	memory   memoryTraits
}

// reaction is what a client does about an answer that does not bring it on.
type reaction uint8

const (
	ignores    reaction = iota // goes on as if the answer had not come
	taken                      // nothing is wrong with the answer
	complains                  // answers with a Default Response, and asks again in time, without counting
	asksAgain                  // takes the answer for a lost one: the next try begins at once
	asksAnew                   // complains, and asks again without counting
	givesUp                    // is idle without a word
	forgets                    // the same, and takes no later answer to what it asked
	aborts                     // ends with an Upgrade End Request: abort
	rejects                    // ends with an Upgrade End Request: invalid image, and forgets what it has
	stalls                     // takes no answer to this request any more, and makes no other
	stallsLoud                 // complains, and stalls
	abortsLate                 // aborts, but for the header, in which it ignores the answer
)

// requestTraits is how a client asks for blocks.
type requestTraits struct {
	size        uint8         // the largest block in bytes; 0 is between 50 and 63, by the seed
	exactAtEnd  bool          // the last request asks for the rest only
	period      bool          // requests carry the minimum block period
	periodLate  bool          // its two bytes are missing until a first wait, against the field control
	nodeAddress bool          // requests carry the IEEE address
	quiet       bool          // all requests forbid default responses for a success
	first       uint32        // the offset of the first request; what is before it is never asked for
	firstSize   uint8         // bytes of the first request, unless it is 0
	spacing     time.Duration // least time between a block and the next request
}

// silenceTraits is what a client does when nobody answers a block request.
type silenceTraits struct {
	timeout time.Duration // of one try
	grows   bool          // the second try waits twice as long, and so on
	retries int           // tries after the first one
	aborts  bool          // then it sends an Upgrade End Request: abort
}

// refusalTraits is what a client does about a Default Response with an error, by what it refuses.
type refusalTraits struct {
	query, block, end refusal
}

// refusal is what a client does about a Default Response, by its status.
type refusal struct {
	noImage, abort, unsupported, other reaction
}

// to chooses by the status.
func (r refusal) to(status byte) reaction {
	switch status {
	case message.OTANoImageAvailable:
		return r.noImage
	case message.OTAAbort:
		return r.abort
	case zclUnsupportedCmd:
		return r.unsupported
	}
	return r.other
}

// always reacts to every status in the same way.
func always(r reaction) refusal {
	return refusal{noImage: r, abort: r, unsupported: r, other: r}
}

// blockTraits is which Image Block Responses a client takes.
type blockTraits struct {
	anySequence bool     // the ZCL sequence number is not compared
	wrongImage  reaction // to a block of another image
	wrongOffset reaction // to a block of another part of the image
	pastEnd     reaction // to a block that lies behind the end of the image
	tooLarge    reaction // to a block that is larger than it was asked for
	status      refusal  // to a status other than success and wait
	complaint   byte     // the status of the Default Response of a client that complains
	unit        int      // blocks are cut to a multiple of so many bytes, and filled to one; 0 takes any
	smallest    int      // bytes of the smallest block that is taken at the start
}

// waitTraits is what a client does about an Image Block Response that tells it to wait.
type waitTraits struct {
	exact       bool          // it has to have 11 bytes, the period among them
	noPeriod    bool          // the period may be missing
	longest     time.Duration // longer waits are cut to this, unless it is 0
	past        reaction      // to a request time before the current time
	pastWait    time.Duration // for such a request time, where that is taken
	pastWraps   bool          // their difference is then one of 32 bits without a sign: up to 136 years
	sameIsTimer bool          // a difference of 0 lets the timer of the request run out
	sameSets    bool          // only a difference of 0 sets the period
	raises      bool          // the period is only ever raised
	periodUnit  time.Duration // of the period; 0 is the millisecond
	longestStep time.Duration // longer periods are cut to this, unless it is 0
	keepsTries  bool          // it does not give back the tries that were used
	noTimer     bool          // the request after the wait has no timer: its answer must not be lost
}

// queryTraits is when a client asks for an image, and which it takes.
type queryTraits struct {
	first, firstSpan       time.Duration // after the start, and how much more by chance
	interval, intervalSpan time.Duration // between two of its own queries, and how much more by chance
	afterFailure           time.Duration // after a download that failed; 0 leaves it to the interval
	failureSpan            time.Duration // how much more by chance
	repeats                bool          // a query without answer is repeated like a block request
	hardwareOnNotify       bool          // queries after a notify carry the hardware version, others do not
	refusesSame            bool          // does not take the version that it runs
	takesLate              bool          // takes an offer that comes behind an answer without one
	takesAlways            bool          // takes an offer in mid-download, and begins again
	exact                  bool          // a response has to have 1 or 13 bytes
	forgetsServer          int           // queries without answer after which it has no server; 0: never
}

// busy is what a client does about an Image Notify while it is not idle.
type busy uint8

const (
	busySilent  busy = iota
	busyFails        // Default Response FAILURE
	busySuccess      // Default Response SUCCESS, and that is all
	busyQueries      // drops what it does, and queries
)

// notifyTraits is what a client does about an Image Notify that was sent to it alone.
type notifyTraits struct {
	anyPayload bool // it is meant, whatever the fields say
	busy       busy
	oldRule    bool // a type other than 0 wants a jitter of 100, else the notify is malformed
	restarts   bool // it starts the interval between two queries anew, instead of a query
	alwaysAsks bool // after a broadcast, too, whatever the jitter
}

// unanswered is what a client does whose last Upgrade End Request nobody has answered.
type unanswered uint8

const (
	unansweredForgets unanswered = iota // the image is lost
	unansweredWaits                     // for ever
	unansweredInstalls
)

// endTraits is how a client ends a complete download.
type endTraits struct {
	interval    time.Duration // between two Upgrade End Requests; 0 takes both from the block requests
	retries     int           // tries after the first one
	unanswered  unanswered
	anySequence bool // the ZCL sequence number of the response is not compared
	exactIDs    bool // 0xFFFF does not stand for any manufacturer code or image type
	exactFile   bool // 0xFFFFFFFF does not stand for any file version
}

// installTraits is when a client installs.
type installTraits struct {
	shortest, longest time.Duration // limits of the time that it is given; 0 is none
	past              reaction      // to an upgrade time before the current time
	pastWait          time.Duration // for such an upgrade time, where that is taken
	ownClock          bool          // with a current time it looks at its own clock, which was never set
	fixed             bool          // the countdown is not changed any more
	neverAsks         bool          // told to wait, it does not ask; else each hour
	holdsFor          time.Duration // told to wait, it installs after this all the same; 0: never
	asksWhileAnswered bool          // an hourly question without an answer is as a first one without
}

// memoryTraits is what a client still has of an image when it is offered again, and after a power cut.
type memoryTraits struct {
	offers     bool          // it goes on with an image that is offered again
	offersFrom int           // least bytes that it goes on with then
	keepsAll   bool          // a power cut takes nothing
	savesEvery int           // bytes of the steps in which the offset is saved; 0 does not save it
	saves      int           // the most steps for one image, unless it is 0
	resumes    time.Duration // with power back it asks for blocks without a query; 0: only when offered
	resumeSpan time.Duration // how much more by chance
}

// duration is how long a client waits that is told these two times, in seconds.
func (w waitTraits) duration(current, request uint32) (time.Duration, reaction) {
	if request < current && !w.pastWraps {
		return w.pastWait, w.past
	}
	wait := time.Duration(request-current) * time.Second
	if w.longest > 0 {
		wait = min(wait, w.longest)
	}
	return wait, taken
}

// unit is what the period of a wait counts in.
func (w waitTraits) unit() time.Duration {
	if w.periodUnit == 0 {
		return time.Millisecond
	}
	return w.periodUnit
}

// nextPeriod is the time between two block requests after a wait with a period.
func (w waitTraits) nextPeriod(last time.Duration, told uint16) time.Duration {
	period := time.Duration(told) * w.unit()
	if w.longestStep > 0 {
		period = min(period, w.longestStep)
	}
	if w.raises {
		period = max(period, last)
	}
	return period
}

// covers tells whether an Upgrade End Response that names an image is about the one that was downloaded.
func (e endTraits) covers(named, downloaded imageID) bool {
	if !e.exactIDs && named.manufacturer == anyCode {
		named.manufacturer = downloaded.manufacturer
	}
	if !e.exactIDs && named.imageType == anyCode {
		named.imageType = downloaded.imageType
	}
	if !e.exactFile && named.version == noVersion {
		named.version = downloaded.version
	}
	return named == downloaded
}

// delay is how long a client waits with the installation that is told these two times, in seconds.
func (i installTraits) delay(current, upgrade uint32) (time.Duration, reaction) {
	if i.ownClock && current != 0 {
		return never, taken
	}
	wait := i.pastWait
	if upgrade >= current {
		wait = time.Duration(upgrade-current) * time.Second
	} else if i.past != taken {
		return 0, i.past
	}
	wait = max(wait, i.shortest)
	if i.longest > 0 {
		wait = min(wait, i.longest)
	}
	return wait, taken
}
