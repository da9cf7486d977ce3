package otasvc

import (
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/blocks"
	"github.com/zigate-ota/zigate-ota/otasvc/fetching"
	"github.com/zigate-ota/zigate-ota/otasvc/sending"
)

// The parts of the Service are made here, each from those that it knows. Which way that knowledge runs can be
// read from top to bottom.

// makeGround makes what everything stands on: the owner, the state's keeper, the ways to the sink and to the
// dongle, the devices, and what is known of the dongle.
func (s *Service) makeGround(o *Options, out *outlet) {
	now := s.owner.now()
	s.gate.deadline = now.Add(settleTimeout)
	s.keeper = &keeper{owner: s.owner}
	s.sender = sending.New(s.owner.inbox)
	s.home = newHome()
	s.dongle = &dongle{watchOnly: o.Policy.WatchOnly, goneAt: now, lookedAt: now}
	s.watch = &watch{
		dongle: s.dongle,
		sender: s.sender,
		log:    o.Logger,
		policy: o.Policy.QueryWatch,
		now:    s.owner.now,
	}
	s.slot = &headerSlot{
		dongle: s.dongle,
		home:   s.home,
		sender: s.sender,
		outlet: out,
		log:    o.Logger,
		now:    s.owner.now,
		memory: imageMemory{store: o.Images, async: s.owner.async, images: map[string]*cachedImage{}},
	}
	s.asking = newAsking(s.owner, s.home, s.watch, s.slot, s.sender, o.Logger)
	s.offers = &offers{
		owner:       s.owner,
		images:      o.Images,
		fetches:     fetching.New(fetchOwner{s.owner}),
		catalog:     o.Catalog,
		observer:    o.Observer,
		outlet:      out,
		log:         o.Logger,
		unavailable: map[string]time.Time{},
		prefetch:    prefetch{wanted: o.Policy.Prefetch},
		reading:     requestGate{opened: o.Catalog == nil, deadline: now.Add(readingTimeout)},
	}
	s.offers.sweepBegun(now)
}

// makeBlocks makes the block server. What it does not finish by itself it hands to the blockOwner.
func (s *Service) makeBlocks(o *Options) *blockOwner {
	owner := &blockOwner{owner: s.owner, sender: s.sender}
	s.blocks = blocks.New(blocks.Options{
		Limits:   blocks.Limits{Largest: o.Policy.BlockSize, Interval: o.Policy.BlockInterval},
		Observer: o.Observer,
		Owner:    owner,
	})
	return owner
}

// makeUpgrades makes what upgrades are done with.
func (s *Service) makeUpgrades(o *Options, out *outlet) {
	s.upgrades = &upgrades{
		policy: &o.Policy,
		now:    s.owner.now,
		home:   s.home,
		groups: newGroups(),
		dongle: s.dongle,
		slot:   s.slot,
		watch:  s.watch,
		rights: &blockRights{
			home:      s.home,
			strangers: s.asking.strangers,
			slot:      s.slot,
			server:    s.blocks,
			needs:     newNeeds(&o.Policy, &s.slot.memory),
			log:       o.Logger,

			servesUnasked: o.Policy.ServeUnsolicited,
		},
		interviews: s.asking.interviews,
		inventory:  &s.asking.inventory.list,
		searches:   s.asking.searches,
		fetches:    map[*device]*fetching.Waiting{},
		sender:     s.sender,
		keeper:     s.keeper,
		outlet:     out,
		observer:   o.Observer,
		log:        o.Logger,
		post:       s.owner.inbox.Post,
	}
	s.planner = &planner{
		places: &places{
			home:     s.home,
			dongle:   s.dongle,
			server:   s.blocks,
			sender:   s.sender,
			observer: o.Observer,
			log:      o.Logger,
			limit:    newLimit(&o.Policy),
		},
		taking: &taking{
			dongle:   s.dongle,
			slot:     s.slot,
			upgrades: s.upgrades,
			sender:   s.sender,
			observer: o.Observer,
			log:      o.Logger,
		},
		inventory:  s.asking.inventory,
		home:       s.home,
		dongle:     s.dongle,
		slot:       s.slot,
		rights:     s.upgrades.rights,
		upgrades:   s.upgrades,
		overlap:    newOverlap(o.Policy.Overlap, s.slot, o.Logger),
		sender:     s.sender,
		log:        o.Logger,
		now:        s.owner.now,
		policy:     slotPolicy(&o.Policy),
		minBattery: o.Policy.MinBattery,
	}
}

// makeHearing makes what takes the dongle's messages.
func (s *Service) makeHearing(o *Options, out *outlet) {
	s.hearing = &hearing{
		ofDongle: &dongleHearing{
			owner:      s.owner,
			dongle:     s.dongle,
			slot:       s.slot,
			watch:      s.watch,
			upgrades:   s.upgrades,
			questions:  s.asking.questions,
			interviews: s.asking.interviews,
			inventory:  s.asking.inventory,
			census:     s.asking.census,
			sender:     s.sender,
			outlet:     out,
			log:        o.Logger,
		},
		devices: &deviceHearing{
			home:       s.home,
			dongle:     s.dongle,
			strangers:  s.asking.strangers,
			interviews: s.asking.interviews,
			inventory:  s.asking.inventory,
			questions:  s.asking.questions,
			rights:     s.upgrades.rights,
			upgrades:   s.upgrades,
			offers:     s.offers,
			sender:     s.sender,
			outlet:     out,
			places:     s.planner.places,
			observer:   o.Observer,
			log:        o.Logger,
			now:        s.owner.now,
		},
		questions: s.asking.questions,
		searches:  s.asking.searches,
		inventory: s.asking.inventory,
		owner:     s.owner,
		home:      s.home,
		dongle:    s.dongle,
		watch:     s.watch,
		slot:      s.slot,
		upgrades:  s.upgrades,
		log:       o.Logger,
	}
}

// makeRequests makes what requests are carried out with, and what tells of the changes.
func (s *Service) makeRequests(o *Options, out *outlet) {
	s.orders = &orders{
		policy:     &o.Policy,
		now:        s.owner.now,
		home:       s.home,
		dongle:     s.dongle,
		slot:       s.slot,
		planner:    s.planner,
		rights:     s.upgrades.rights,
		offers:     s.offers,
		upgrades:   s.upgrades,
		groups:     s.upgrades.groups,
		interviews: s.asking.interviews,
		inventory:  s.asking.inventory,
		keeper:     s.keeper,
		outlet:     out,
	}
	s.byHand = &byHand{
		owner:     s.owner,
		home:      s.home,
		dongle:    s.dongle,
		slot:      s.slot,
		planner:   s.planner,
		offers:    s.offers,
		upgrades:  s.upgrades,
		questions: s.asking.questions,
		sender:    s.sender,
		outlet:    out,
		log:       o.Logger,
	}
	s.inquiries = &inquiries{
		owner:      s.owner,
		home:       s.home,
		dongle:     s.dongle,
		offers:     s.offers,
		searches:   s.asking.searches,
		interviews: s.asking.interviews,
		takeCensus: s.asking.census.take,
		inventory:  s.asking.inventory,
	}
	s.teller = &teller{
		outlet:    out,
		home:      s.home,
		offers:    s.offers,
		upgrades:  s.upgrades,
		dongle:    s.dongle,
		slot:      s.slot,
		outlook:   &outlook{home: s.home, dongle: s.dongle, slot: s.slot, planner: s.planner},
		startedAt: s.owner.now(),
	}
}
