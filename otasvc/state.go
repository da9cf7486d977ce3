package otasvc

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/statefile"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

// stateVersion is the version of the state file that this program writes. It reads this one and older ones.
const stateVersion = 1

// state is the state file: all that has to outlive the process.
type state struct {
	Version   int              `json:"version"`
	Devices   []*keptDevice    `json:"devices"`
	Registry  library.Registry `json:"registry"`
	Groups    []*group         `json:"groups,omitempty"`
	NextGroup uint64           `json:"nextGroup,omitempty"`
	Network   network          `json:"network,omitzero"` // of the dongle
	Away      time.Duration    `json:"away,omitempty"`   // how long the dongle has been away
}

// keptDevice is a device in the state file.
type keptDevice struct {
	registry.Facts
	Upgrade *upgrade.Upgrade `json:"upgrade,omitempty"`
	History []upgrade.Past   `json:"history,omitempty"`
}

// readState reads a state file of this version or an older one.
func readState(data []byte) (state, error) {
	var st state
	if err := json.Unmarshal(data, &st); err != nil {
		return state{}, err
	}
	if st.Version < 1 || st.Version > stateVersion {
		return state{}, fmt.Errorf("it has version %d, this program reads up to %d", st.Version, stateVersion)
	}
	if slices.Contains(st.Devices, nil) || slices.Contains(st.Groups, nil) {
		return state{}, errors.New("it has an entry that is null")
	}
	return st, nil
}

// openState reads the state file and takes the state of an earlier life of the service.
func (s *Service) openState(path string, log *slog.Logger) error {
	var kept state
	file, err := statefile.Open(path, log, func(data []byte) (err error) {
		kept, err = readState(data)
		return err
	})
	if err != nil {
		return err
	}
	s.keeper.file = file
	s.restore(kept)
	return nil
}

// snapshot is the state as it is now.
func (s *Service) snapshot() []byte {
	st := state{
		Version:   stateVersion,
		Registry:  s.offers.registrations,
		Groups:    s.upgrades.groups.sorted(),
		NextGroup: s.upgrades.groups.lastID,
		Network:   s.dongle.network,
		Away:      s.dongle.away,
	}
	for _, d := range s.home.sorted() {
		st.Devices = append(st.Devices, &keptDevice{Facts: d.Facts(), Upgrade: d.upgrade, History: d.history})
	}
	data, err := json.Marshal(st)
	if err != nil {
		panic(fmt.Sprintf("otasvc: the state does not marshal: %v", err)) // all types are ours and plain
	}
	return data
}

// restore takes the state of an earlier life. Running upgrades get their images and their right to blocks
// back before the dongle is even opened: their devices may be asking at this moment.
func (s *Service) restore(st state) {
	now := s.owner.now()
	s.offers.registrations = st.Registry
	s.upgrades.groups.restore(st.Groups, st.NextGroup)
	s.dongle.network = st.Network
	s.dongle.away = st.Away
	for _, kept := range st.Devices {
		d := s.home.restore(*kept, now)
		s.upgrades.restore(d, now)
	}
	for _, g := range st.Groups {
		s.upgrades.finishGroup(g)
	}
	s.upgrades.rights.refreshTable()
}

// keeper decides when the state is written, and who waits for that. It does not know what the state is: who
// has it written brings snapshot, which returns it as it is now in the form of the state file.
type keeper struct {
	owner *owner
	file  *statefile.File // nil where nothing is kept

	asked   uint64 // counts who has asked for the state to be written
	after   []func()
	saved   revisions
	savedAt time.Time
}

// revisions are the revisions of everything that is kept in the state file.
type revisions struct{ devices, registrations, dongle, upgrades, groups, asked uint64 }

// saveInterval is how often the state is written when no answer waits for it. What is lost by a crash in
// between is learnt again from the devices; memory cards wear out with each write.
const saveInterval = 5 * time.Second

// whenSaved runs f once the state as it is now is on the disk: an answer must not promise what a
// power cut takes back.
func (k *keeper) whenSaved(f func()) {
	k.asked++
	k.after = append(k.after, f)
}

// save hands the state to the file where it is not the one that was handed to it last.
func (k *keeper) save(now revisions, at time.Time, snapshot func() []byte) {
	if now == k.saved || len(k.after) == 0 && at.Sub(k.savedAt) < saveInterval {
		return
	}
	k.saved = now
	k.savedAt = at
	done := k.takeWaiting()
	if k.file == nil {
		done()
		return
	}
	k.file.Save(snapshot(), func() { k.owner.inbox.Post(done) })
}

// saveNow writes the state for those who wait for it, and reports whether there were any.
func (k *keeper) saveNow(snapshot func() []byte) bool {
	if len(k.after) == 0 {
		return false
	}
	done := k.takeWaiting()
	if k.file != nil {
		k.file.SaveNow(snapshot())
	}
	done()
	return true
}

// takeWaiting returns a function that tells all who wait for the state to be written that it was.
func (k *keeper) takeWaiting() func() {
	waiting := k.after
	k.after = nil
	return func() {
		for _, f := range waiting {
			f()
		}
	}
}

// health is nil, or the error says why the state cannot be written.
func (k *keeper) health() error {
	if k.file == nil {
		return nil
	}
	return k.file.Health()
}

// begin has the file written from now on; the returned function writes a last snapshot and waits for it.
func (k *keeper) begin(snapshot func() []byte) (end func()) {
	if k.file == nil {
		return func() {}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		k.file.Run()
	}()
	return func() {
		k.file.Close(snapshot())
		<-ended
	}
}
