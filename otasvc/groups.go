package otasvc

import (
	"cmp"
	"maps"
	"slices"

	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/message"
)

// group is the upgrades that one request for all devices began. It is changed by [groups] alone.
type group struct {
	ID      uint64          `json:"id"`
	Ticket  upgrade.Ticket  `json:"ticket,omitempty"`
	Members []UpgradeResult `json:"members"`
	// answering says that all have ended. The group is kept until that is on the disk and its answer was
	// given.
	answering bool
}

// ended reports whether the upgrades of all members have ended.
func (g *group) ended() bool {
	return !slices.ContainsFunc(g.Members, func(m UpgradeResult) bool { return !m.State.Ended() })
}

// answer is the final answer of a group whose members have all ended.
func (g *group) answer() Answer {
	answer := Answer{Status: Success, UpgradeResults: g.Members}
	if slices.ContainsFunc(g.Members, func(m UpgradeResult) bool { return m.State != upgrade.Succeeded }) {
		answer.Status = Failure
		answer.Error = "not every device was upgraded; see results"
	}
	return answer
}

// groups is the groups whose answer was not given yet. Its methods note what the state file has to have of
// them. It does not know the upgrades, nor who is told the answer. It belongs to the owner goroutine.
type groups struct {
	byID   map[uint64]*group
	lastID uint64

	revision uint64 // counts changes of what the state file has of groups
}

// newGroups returns groups without any.
func newGroups() *groups { return &groups{byID: map[uint64]*group{}} }

// restore takes in the groups of an earlier life of the service, and the last ID that it gave to one.
func (gs *groups) restore(kept []*group, lastID uint64) {
	gs.lastID = lastID
	for _, g := range kept {
		gs.byID[g.ID] = g
	}
}

// sorted lists the groups by ID.
func (gs *groups) sorted() []*group {
	return slices.SortedFunc(maps.Values(gs.byID), func(a, b *group) int { return cmp.Compare(a.ID, b.ID) })
}

// begin makes a group without members yet. The ticket is for its final answer; it is empty where nobody
// waits.
func (gs *groups) begin(ticket upgrade.Ticket) *group {
	gs.lastID++
	g := &group{ID: gs.lastID, Ticket: ticket, Members: []UpgradeResult{}}
	gs.byID[g.ID] = g
	gs.revision++
	return g
}

// hasTicket reports whether the answer of a group is for a ticket, which is not empty.
func (gs *groups) hasTicket(ticket upgrade.Ticket) bool {
	for _, g := range gs.byID {
		if hasTicket([]upgrade.Ticket{g.Ticket}, ticket) {
			return true
		}
	}
	return false
}

// add makes a device a member of a group. Its upgrade may have ended already.
func (gs *groups) add(g *group, member UpgradeResult) {
	g.Members = append(g.Members, member)
	gs.revision++
}

// memberEnded notes how the upgrade of a group's member ended, and returns the group; nil where there is none
// with this ID.
func (gs *groups) memberEnded(id uint64, euid message.IEEE, how upgrade.State, why upgrade.Reason) *group {
	g := gs.byID[id]
	if g == nil {
		return nil
	}
	for i := range g.Members {
		if g.Members[i].EUID == euid {
			g.Members[i].State = how
			g.Members[i].Reason = why
		}
	}
	gs.revision++
	return g
}

// answerDue reports whether all members of a group have ended and nobody has begun to answer for it.
func (gs *groups) answerDue(g *group) bool {
	return g.ended() && gs.byID[g.ID] != nil && !g.answering
}

// answerBegun notes that a group's answer is given as soon as the state is on the disk. It is not kept:
// after a crash the answer is given again.
func (gs *groups) answerBegun(g *group) { g.answering = true }

// answered drops a group whose answer is being given.
func (gs *groups) answered(g *group) {
	delete(gs.byID, g.ID)
	gs.revision++
}
