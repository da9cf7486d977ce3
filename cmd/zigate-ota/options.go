package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/config"
	"github.com/zigate-ota/zigate-ota/otasvc"
	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
	"github.com/zigate-ota/zigate-ota/zigate/share"
)

// libraryOptions returns the library's options for a configuration. It reads the file of authorities again,
// which may have changed since the configuration was checked.
func libraryOptions(c config.ImageConfig, log *slog.Logger) (library.Options, error) {
	authorities, err := c.Authorities()
	if err != nil {
		return library.Options{}, fmt.Errorf("ZIGATE_OTA_IMAGE_CA_FILE: %w", err)
	}
	return library.Options{
		Dir: c.Dir, MaxBytes: c.MaxBytes, AllowedHosts: c.AllowedHosts, FetchTimeout: c.FetchTimeout,
		DirectorURL: string(c.DirectorURL), Authorities: authorities, Logger: log,
	}, nil
}

// makerAliases returns the library's value for ZIGATE_OTA_IMAGE_MAKER_ALIASES.
func makerAliases(pairs config.MakerAliases) []library.MakerAlias {
	var aliases []library.MakerAlias
	for _, pair := range pairs {
		aliases = append(aliases, library.MakerAlias{Name: pair[0], Other: pair[1]})
	}
	return aliases
}

// shareOptions returns the options of the package share for a configuration.
func shareOptions(c config.ShareConfig, observer share.Observer) share.Options {
	o := share.Options{
		Listen: string(c.Addr), PTY: c.PTY, Allow: c.Allow, MaxClients: c.Clients, Observer: observer,
	}
	if c.OTA == config.ShareOTAClient {
		o.OTA = share.OTATheirs
	}
	return o
}

// machineNames returns what this machine is called, in lower case: its own names, and the one that the HTTP
// server listens under, where that is a name.
func machineNames(addr string) []string {
	var names []string
	if name, err := os.Hostname(); err == nil {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		short, _, _ := strings.Cut(name, ".")
		names = append(names, name, short, short+".local")
	}
	if host, _, err := net.SplitHostPort(addr); err == nil && host != "" {
		names = append(names, strings.ToLower(strings.TrimSuffix(host, ".")))
	}
	return names
}

// queryWatch returns the service's value for ZIGATE_OTA_DONGLE_QUERY_WATCH.
func queryWatch(w config.QueryWatch) otasvc.QueryWatch {
	switch w {
	case config.QueryWatchAlways:
		return otasvc.WatchAlways
	case config.QueryWatchIdle:
		return otasvc.WatchIdle
	default:
		return otasvc.WatchNever
	}
}

// upgradePolicy returns the service's policy for a configuration.
func upgradePolicy(c config.UpgradeConfig, watch otasvc.QueryWatch) otasvc.Policy {
	p := otasvc.Policy{
		Concurrency:      c.Concurrency.AtOnce,
		BlockSize:        uint8(c.BlockSize),
		NotifyInterval:   c.NotifyInterval,
		NotifyAttempts:   c.NotifyAttempts,
		StallTimeout:     c.StallTimeout,
		RejoinTimeout:    c.RejoinTimeout,
		Retries:          c.Retries,
		Slice:            c.Slice,
		Overlap:          c.Overlap == config.OverlapAuto,
		Canary:           c.Canary,
		QueryWatch:       watch,
		BlockInterval:    c.BlockInterval,
		MinBattery:       c.MinBattery,
		Auto:             c.Policy == config.PolicyAuto,
		ServeUnsolicited: c.Unsolicited == config.UnsolicitedServe,
	}
	if !c.Window.IsZero() {
		p.Window = &upgrade.Window{Begin: c.Window.Start, End: c.Window.End}
	}
	return p
}
