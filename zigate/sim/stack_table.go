package sim

import "time"

// stackTable has what is known of each stack, by Stack. Facts come from the makers' source; what that does
// not tell is marked "not known" and chosen so that a server has to be careful.
var stackTable = [...]stackTraits{
	// A client that begins with the fields of DeviceConfig alone. It is idle after any refusal.
	NoStack: {
		name:     "none",
		silence:  silenceTraits{timeout: 5 * time.Second, retries: 5},
		refusals: refusalTraits{query: always(givesUp), block: always(givesUp)},
		blocks:   blockTraits{status: always(givesUp)},
		waits:    waitTraits{past: taken},
		queries:  queryTraits{repeats: true},
		install:  installTraits{past: taken},
		memory:   memoryTraits{keepsAll: true},
	},

	// A refusal of a block ends the download at once and in silence. Each try takes 3.25 s and a pause of
	// 2 s; ten of them in a row end it with an abort.
	Ember: {
		name:     "ember",
		requests: requestTraits{size: 63, period: true},
		silence:  silenceTraits{timeout: 5250 * time.Millisecond, retries: 9, aborts: true},
		refusals: refusalTraits{
			query: always(givesUp),
			block: refusal{noImage: givesUp, abort: givesUp, unsupported: givesUp, other: complains},
			end:   always(givesUp),
		},
		blocks: blockTraits{
			anySequence: true,
			status:      refusal{noImage: givesUp, abort: givesUp, unsupported: complains, other: complains},
			complaint:   zclInvalidValue,
		},
		waits: waitTraits{
			noPeriod: true, longest: time.Hour, past: taken, pastWait: 5 * time.Minute,
			sameIsTimer: true, keepsTries: true,
		},
		queries: queryTraits{
			first: time.Second, firstSpan: 254 * time.Second, interval: 5 * time.Minute,
			afterFailure: 5 * time.Minute, refusesSame: true, takesLate: true,
		},
		notify: notifyTraits{anyPayload: true, busy: busyFails},
		end: endTraits{
			interval: 3 * time.Second, retries: 9, unanswered: unansweredInstalls, anySequence: true,
		},
		install: installTraits{
			shortest: 3 * time.Second, longest: time.Hour, past: taken, pastWait: time.Hour,
			fixed: true, asksWhileAnswered: true,
		},
		// Of the EEPROM driver. The saved part is asked for after a discovery of the server.
		memory: memoryTraits{savesEvery: 1024, resumes: time.Second, resumeSpan: 254 * time.Second},
	},

	// Any refusal ends the download in silence. This is the build for internal flash, with four tries, whose
	// application refuses the version that it runs; with DeviceConfig.MaxDataSize 64 it is that for external
	// flash, and with MinimumBlockPeriod the build that takes the period for seconds.
	NXP: {
		name:     "nxp",
		requests: requestTraits{size: nxpInternalFlash},
		silence:  silenceTraits{timeout: 6 * time.Second, retries: 3},
		refusals: refusalTraits{query: always(givesUp), block: always(givesUp), end: always(givesUp)},
		blocks: blockTraits{
			anySequence: true, pastEnd: aborts, tooLarge: aborts,
			status: refusal{
				noImage: abortsLate, abort: givesUp, unsupported: abortsLate, other: abortsLate,
			},
			complaint: zclMalformed, unit: 16,
		},
		waits: waitTraits{
			noPeriod: true, past: complains, periodUnit: time.Second, longestStep: 5 * time.Second,
		},
		queries: queryTraits{
			first: 15 * time.Minute, firstSpan: 15 * time.Minute,
			interval: 15 * time.Minute, intervalSpan: 15 * time.Minute,
			refusesSame: true, takesLate: true, forgetsServer: 3,
		},
		notify:  notifyTraits{anyPayload: true, alwaysAsks: true},
		end:     endTraits{interval: 11 * time.Second, retries: 3, anySequence: true},
		install: installTraits{ownClock: true},
		memory:  memoryTraits{savesEvery: 1024, resumes: 10 * time.Second},
	},

	// Refusals are ignored, but for ABORT to the Upgrade End Request.
	Telink: {
		name:     "telink",
		requests: requestTraits{size: 48, exactAtEnd: true, period: true},
		silence:  silenceTraits{timeout: 5 * time.Second, retries: 9, aborts: true},
		refusals: refusalTraits{end: refusal{abort: givesUp}},
		blocks: blockTraits{
			anySequence: true, wrongImage: rejects,
			status:    refusal{noImage: complains, abort: givesUp, unsupported: complains, other: complains},
			complaint: zclMalformed, smallest: 4,
		},
		waits: waitTraits{noPeriod: true, pastWraps: true, sameSets: true},
		queries: queryTraits{
			first: 5 * time.Minute, firstSpan: 5 * time.Second, interval: 5 * time.Minute,
			afterFailure: 5 * time.Minute, failureSpan: 5 * time.Second, refusesSame: true,
			takesLate: true,
		},
		notify: notifyTraits{anyPayload: true, busy: busyFails},
		end: endTraits{
			interval: 5 * time.Second, retries: 1, unanswered: unansweredInstalls, anySequence: true,
		},
		install: installTraits{past: taken, holdsFor: 2 * time.Hour},
		memory:  memoryTraits{offers: true, offersFrom: 4097, savesEvery: 1, saves: 110},
	},

	// Refusals are ignored, but for ABORT to the Upgrade End Request. Not known: whether the sequence number
	// of blocks is compared, and a request time in the past.
	TI: {
		name:     "ti",
		requests: requestTraits{size: 32, exactAtEnd: true, period: true},
		silence:  silenceTraits{timeout: 5 * time.Second, retries: 10, aborts: true},
		refusals: refusalTraits{end: refusal{abort: givesUp}},
		blocks: blockTraits{
			wrongImage: complains,
			status:     refusal{noImage: complains, abort: givesUp, unsupported: complains, other: complains},
			complaint:  zclMalformed,
		},
		waits: waitTraits{exact: true, past: taken, sameSets: true},
		queries: queryTraits{
			first: 5 * time.Second, interval: 30 * time.Second, takesLate: true, exact: true,
		},
		notify: notifyTraits{anyPayload: true, busy: busyFails},
		end: endTraits{
			interval: never, unanswered: unansweredWaits, anySequence: true, exactIDs: true,
		},
		install: installTraits{past: taken, holdsFor: 3 * time.Hour},
	},

	// A refusal ends the download, which goes on where it was a minute later. Not known: a refusal of the
	// Upgrade End Request, and a wait without a period.
	BitCloud: {
		name:     "bitcloud",
		requests: requestTraits{size: 48, period: true, periodLate: true, first: 62, firstSize: 8},
		silence:  silenceTraits{timeout: 3 * time.Second, grows: true, retries: 3},
		refusals: refusalTraits{query: always(forgets), block: always(forgets)},
		blocks: blockTraits{
			status:    refusal{noImage: asksAnew, abort: rejects, unsupported: asksAnew, other: asksAnew},
			complaint: zclMalformed,
		},
		waits: waitTraits{past: stallsLoud, sameSets: true},
		queries: queryTraits{
			first: 5 * time.Second, interval: 5 * time.Second, afterFailure: time.Minute,
			takesLate: true,
		},
		notify:  notifyTraits{anyPayload: true, busy: busyQueries, oldRule: true, restarts: true},
		end:     endTraits{unanswered: unansweredInstalls},
		install: installTraits{past: taken, asksWhileAnswered: true},
		memory:  memoryTraits{offers: true},
	},

	// The first answer with the sequence number ends a request, a refusal counts as a try. Not known: how
	// long a try takes, a refusal of the Upgrade End Request, a request time in the past, and what the
	// application does: here it refuses the version that it runs, and does not query by itself.
	Exegin: {
		name:     "exegin",
		requests: requestTraits{size: 49, period: true, quiet: true, spacing: 50 * time.Millisecond},
		silence:  silenceTraits{timeout: 5 * time.Second, retries: 10},
		refusals: refusalTraits{query: always(forgets), block: always(asksAgain)},
		blocks: blockTraits{
			wrongImage: stalls, wrongOffset: stalls, pastEnd: stalls,
			status: refusal{noImage: stalls, abort: givesUp, unsupported: stalls, other: stalls},
		},
		waits:   waitTraits{past: taken, raises: true},
		queries: queryTraits{hardwareOnNotify: true, refusesSame: true},
		notify:  notifyTraits{anyPayload: true},
		end:     endTraits{interval: never, unanswered: unansweredWaits, anySequence: true},
		install: installTraits{past: givesUp, neverAsks: true},
	},

	ZBOSS: zboss("zboss", 24*time.Hour, ignores, memoryTraits{}),

	// The size of a page of its flash is not known.
	Trident: zboss("trident", 5*time.Minute, forgets, memoryTraits{savesEvery: 4096}),

	// One lost answer sets it back to the start; this was reported, not read. The rest is not known, and as
	// strict as a stack can be.
	EspressifV2: {
		name:     "espressif2",
		requests: requestTraits{size: 64},
		silence:  silenceTraits{timeout: 7 * time.Second},
		refusals: refusalTraits{query: always(givesUp), block: always(givesUp), end: always(givesUp)},
		blocks:   blockTraits{status: always(givesUp)},
		waits:    waitTraits{past: taken},
		queries:  queryTraits{first: time.Minute, interval: 24 * time.Hour, refusesSame: true},
		notify:   notifyTraits{anyPayload: true},
		end:      endTraits{interval: 7 * time.Second, exactIDs: true, exactFile: true},
		install:  installTraits{past: ignores},
	},
}

// nxpInternalFlash is the block size of NXP's build that writes to internal flash, in units of 16 bytes.
const nxpInternalFlash = 48

// never is the interval of requests that are not repeated, and after which nothing happens by itself.
const never time.Duration = 1 << 62

// zboss is the row of ZBOSS and of its variant, which differ in the time between two queries, in what they
// do about a refusal with NO_IMAGE_AVAILABLE, and in what they save. Refusals other than ABORT are ignored.
// Not known: how often a block request is repeated.
func zboss(name string, interval time.Duration, noImage reaction, memory memoryTraits) stackTraits {
	refused := refusal{noImage: noImage, abort: forgets}
	return stackTraits{
		name:     name,
		requests: requestTraits{size: 64, period: true, nodeAddress: true},
		silence:  silenceTraits{timeout: 45 * time.Second, retries: 2, aborts: true},
		refusals: refusalTraits{query: refused, block: refused, end: refusal{abort: givesUp}},
		blocks:   blockTraits{status: refusal{abort: givesUp}},
		waits:    waitTraits{past: taken, sameSets: true, noTimer: true},
		queries: queryTraits{
			first: time.Minute, interval: interval,
			hardwareOnNotify: true, refusesSame: true, takesLate: true, takesAlways: true,
		},
		notify: notifyTraits{anyPayload: true, busy: busySuccess},
		end: endTraits{
			interval: never, unanswered: unansweredWaits, anySequence: true, exactIDs: true, exactFile: true,
		},
		install: installTraits{past: ignores, neverAsks: true},
		memory:  memory,
	}
}
