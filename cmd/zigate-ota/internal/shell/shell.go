package shell

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/terminal"
)

// Call has what commands need of the process.
type Call struct {
	Environ []string // says whether the terminal shows colours
	Stdout  io.Writer
	Stderr  io.Writer
	// Configure reads the configuration and returns the broker. broker and topic come from the command line
	// and replace what the environment says; they are empty where they were not given.
	Configure func(broker, topic string) (Broker, error)
}

// Options are those that all commands have.
type Options struct {
	Broker string // the broker's URL; empty for that of the configuration
	Topic  string // the service's base topic; empty for that of the configuration
	// JSON asks for one JSON object a line, for scripts, in the place of text for people.
	JSON bool
	// Timeout is how long a command may take; 0 for no limit.
	Timeout time.Duration
}

// Bound returns a context that ends with the timeout. The caller calls the function when the command has
// ended.
func (o *Options) Bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if o.Timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, o.Timeout)
}

// Shell carries out one command. Each command is a method; an error of type [*Error] has the exit code for
// it, any other one means that the command failed.
type Shell struct {
	options   Options
	term      *terminal.Terminal
	stderr    io.Writer
	configure func(broker, topic string) (Broker, error)
}

// New prepares a command.
func New(call Call, o Options) *Shell {
	return &Shell{
		options:   o,
		term:      terminal.New(call.Stdout, call.Environ),
		stderr:    call.Stderr,
		configure: call.Configure,
	}
}

// completionTimeout is how long a completion waits for the service, while the user waits for it.
const completionTimeout = 1500 * time.Millisecond

// DeviceName is one way to name a device.
type DeviceName struct {
	Name        string
	Description string // what else is known of the device
}

// DeviceNames asks the service for the names of its devices, and then for their EUIDs. There are none where
// it does not answer at once.
func (c *Shell) DeviceNames(ctx context.Context) []DeviceName {
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	s, err := c.open(ctx, wantsDevices)
	if err != nil {
		return nil
	}
	defer s.close()
	if s.gather(ctx) != nil {
		return nil
	}
	var names []DeviceName
	var euids []DeviceName
	for _, d := range s.devices.sorted() {
		model := ""
		if d.ModelID != nil {
			model = terminal.Clean(*d.ModelID)
		}
		if d.named() && terminal.Clean(d.Name) == d.Name {
			names = append(names, DeviceName{d.Name, model})
			model = strings.TrimSuffix(d.Name+", "+model, ", ")
		}
		euids = append(euids, DeviceName{string(d.EUID), model})
	}
	return append(names, euids...)
}

// oneOf lists words in a sentence.
func oneOf(words []string) string { return strings.Join(words, ", ") }
