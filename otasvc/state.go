package otasvc

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/statefile"
	"github.com/zigate-ota/zigate-ota/otasvc/statefile/document"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

// stateVersion is the version of the state file that this program writes. It reads this one and older ones.
const stateVersion = 1

// state is the state file: all that has to outlive the process.
type state struct {
	Version   int
	Devices   []*keptDevice
	Registry  library.Registry
	Groups    []*group
	NextGroup uint64
	Network   network       // of the dongle
	Away      time.Duration // how long the dongle has been away
	// Unknown is what a newer program has written and this one does not know.
	Unknown map[string]json.RawMessage
}

// keptDevice is a device in the state file.
type keptDevice struct {
	registry.Facts
	Upgrade *upgrade.Upgrade `json:"upgrade,omitempty"`
	History []upgrade.Past   `json:"history,omitempty"`
	keptBeside
}

// stateLists are the lists of the state file, each with a key that its entries alone have.
var stateLists = map[string]string{"devices": "euid", "registry": "sha256", "groups": "members"}

// readState reads a state file of this version or an older one. Where the error is [statefile.ErrDamaged] it
// names what was left out. One of a newer version is a [statefile.ErrRefused]: what that means this program
// does not know.
func readState(data []byte) (state, error) {
	doc, whole, err := document.Parse(data, stateLists)
	if err != nil {
		return state{}, err
	}
	var st state
	var left []string
	if !whole {
		left = append(left, "it is no valid JSON")
	}
	if err := st.readFields(doc.Fields, whole); err != nil {
		return state{}, err
	}
	for name, take := range map[string]func(json.RawMessage) error{
		"devices": st.takeDevice, "registry": st.Registry.Restore, "groups": st.takeGroup,
	} {
		for i, entry := range doc.Lists[name] {
			if err := take(entry); err != nil {
				left = append(left, fmt.Sprintf("number %d of %s: %v", i+1, name, err))
			}
		}
	}
	if len(left) > 0 {
		slices.Sort(left)
		return st, fmt.Errorf("%w: %s", statefile.ErrDamaged, strings.Join(left, "; "))
	}
	return st, nil
}

// readFields takes in what is in no list. The version is there twice, so that a damaged one is told from that
// of a newer program. What this program does not know is kept for one that does.
func (st *state) readFields(fields map[string]json.RawMessage, whole bool) error {
	var again int
	known := map[string]any{
		"version":   &st.Version,
		"writtenAs": &again,
		"nextGroup": &st.NextGroup,
		"network":   &st.Network,
		"away":      &st.Away,
	}
	st.Unknown = map[string]json.RawMessage{}
	for key, value := range fields {
		into, ok := known[key]
		if !ok {
			st.Unknown[key] = value
			continue
		}
		if err := json.Unmarshal(value, into); err != nil && whole && key == "version" && again == 0 {
			return err
		}
	}
	versions := []int{st.Version, again}
	switch {
	case min(st.Version, cmp.Or(again, st.Version)) > stateVersion:
		return fmt.Errorf("%w: it was written as version %d, and this program reads up to %d; start the "+
			"newer version again, or move the file away to begin anew",
			statefile.ErrRefused, st.Version, stateVersion)
	case whole && !slices.Contains(versions, stateVersion):
		return fmt.Errorf("it has version %d, this program reads %d", st.Version, stateVersion)
	}
	return nil
}

// takeDevice takes in a device.
func (st *state) takeDevice(entry json.RawMessage) error {
	var d *keptDevice
	if err := json.Unmarshal(entry, &d); err != nil {
		return err
	}
	if d == nil {
		return errors.New("it is null")
	}
	known := func(other *keptDevice) bool { return other.EUID == d.EUID }
	if slices.ContainsFunc(st.Devices, known) {
		return fmt.Errorf("%s is there twice", d.EUID)
	}
	unknown, err := unknownMembers(entry, d)
	if err != nil {
		return err
	}
	d.unknown = unknown
	st.Devices = append(st.Devices, d)
	return nil
}

// unknownMembers are the members of an object that this program does not know: those of a newer one, which
// may be started again. What is known is what it writes of such an object, and what it leaves out where it is
// empty.
func unknownMembers(object json.RawMessage, known any) (map[string]json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(object, &members); err != nil {
		return nil, err
	}
	for _, field := range reflect.VisibleFields(reflect.TypeOf(known).Elem()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		delete(members, name)
	}
	return members, nil
}

// takeGroup takes in a group.
func (st *state) takeGroup(entry json.RawMessage) error {
	var g *group
	if err := json.Unmarshal(entry, &g); err != nil {
		return err
	}
	if g == nil {
		return errors.New("it is null")
	}
	st.Groups = append(st.Groups, g)
	return nil
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
		Unknown:   s.keeper.unknown,
	}
	for _, d := range s.home.sorted() {
		st.Devices = append(st.Devices, &keptDevice{
			Facts:      d.Facts(),
			Upgrade:    d.upgrade,
			History:    d.history,
			keptBeside: d.beside,
		})
	}
	data, err := st.bytes()
	if err != nil {
		panic(fmt.Sprintf("otasvc: the state does not marshal: %v", err)) // all types are ours and plain
	}
	return data
}

// bytes is the state as it is written.
func (st *state) bytes() ([]byte, error) {
	doc := document.Document{
		Fields: maps.Clone(st.Unknown),
		Lists:  map[string][]json.RawMessage{},
	}
	if doc.Fields == nil {
		doc.Fields = map[string]json.RawMessage{}
	}
	for key, value := range map[string]any{
		"version":   st.Version,
		"writtenAs": st.Version,
		"nextGroup": st.NextGroup,
		"network":   st.Network,
		"away":      st.Away,
	} {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		doc.Fields[key] = text
	}
	for _, d := range st.Devices {
		text, err := json.Marshal(d)
		if err == nil {
			text, err = document.With(text, d.unknown)
		}
		if err != nil {
			return nil, err
		}
		doc.Lists["devices"] = append(doc.Lists["devices"], text)
	}
	for key, list := range map[string]any{"registry": st.Registry, "groups": st.Groups} {
		entries, err := entriesOf(list)
		if err != nil {
			return nil, err
		}
		doc.Lists[key] = entries
	}
	return doc.Bytes()
}

// entriesOf are the entries of what is written as an array.
func entriesOf(list any) ([]json.RawMessage, error) {
	text, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	var entries []json.RawMessage
	return entries, json.Unmarshal(text, &entries)
}

// restore takes the state of an earlier life. Running upgrades get their images and their right to blocks
// back before the dongle is even opened: their devices may be asking at this moment.
func (s *Service) restore(st state) {
	now := s.owner.now()
	s.offers.registrations = st.Registry
	s.upgrades.groups.restore(st.Groups, st.NextGroup)
	s.dongle.network = st.Network
	s.dongle.away = st.Away
	s.keeper.unknown = st.Unknown
	for _, kept := range st.Devices {
		d := s.home.restore(*kept, now)
		s.upgrades.restore(d, now)
		if isFetching(d) { // what is known of the dongle decides, too
			u := d.upgrade
			s.gate.pass(func() { s.orders.goOnFetching(d, u) })
		}
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
	// unknown is what a newer program has written besides.
	unknown map[string]json.RawMessage

	asked   uint64 // counts who has asked for the state to be written
	after   []func(error)
	saved   revisions
	savedAt time.Time
}

// revisions are the revisions of everything that is kept in the state file.
type revisions struct{ devices, registrations, dongle, upgrades, groups, asked uint64 }

// saveInterval is how often the state is written when no answer waits for it. What is lost by a crash in
// between is learnt again from the devices; memory cards wear out with each write.
const saveInterval = 5 * time.Second

// whenSaved runs f once the state as it is now is on the disk, or cannot be written: an answer must not
// promise what a power cut takes back.
func (k *keeper) whenSaved(f func()) { k.afterSave(func(error) { f() }) }

// afterSave is whenSaved for those who have to know why the state cannot be written.
func (k *keeper) afterSave(f func(error)) {
	k.asked++
	k.after = append(k.after, f)
}

// answer gives an answer once the state is on the disk. Where that cannot be written, it does not say that
// the state has the request, and no success: what was done is lost when the service stops.
func (k *keeper) answer(a Answer, respond Respond) {
	k.afterSave(func(err error) {
		if err != nil {
			a.Kept = false
		}
		if err != nil && a.Status == Success {
			a.Status = Failure
			a.Error = fmt.Sprintf("it is done, but cannot be written to the disk, so that it is lost when "+
				"the service stops (%v); free some space or mend the disk, and ask again", err)
		}
		respond(a)
	})
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
		done(nil)
		return
	}
	k.file.Save(snapshot(), func(err error) { k.owner.inbox.Post(func() { done(err) }) })
}

// saveNow writes the state for those who wait for it, and reports whether there were any.
func (k *keeper) saveNow(snapshot func() []byte) bool {
	if len(k.after) == 0 {
		return false
	}
	done := k.takeWaiting()
	var err error
	if k.file != nil {
		err = k.file.SaveNow(snapshot())
	}
	done(err)
	return true
}

// takeWaiting returns a function that tells all who wait for the state to be written that it was, or why not.
func (k *keeper) takeWaiting() func(error) {
	waiting := k.after
	k.after = nil
	return func(err error) {
		for _, f := range waiting {
			f(err)
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
