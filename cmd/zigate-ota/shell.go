package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/config"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/shell"
)

// shellBroker returns the broker of the service's own configuration. broker and topic, from the command
// line, replace what the environment says. Variables about other things are not read, because the files
// that they name may be readable for the service alone.
func shellBroker(environ []string, broker, topic string) (shell.Broker, error) {
	var others []string
	for _, name := range config.Variables() {
		if !strings.HasPrefix(name, "ZIGATE_OTA_MQTT_") && !strings.HasPrefix(name, "ZIGATE_OTA_BROKER_") {
			others = append(others, name)
		}
	}

	// The completion of fish sets this variable.
	others = append(others, "ZIGATE_OTA_ACTIVE_HELP")
	// The first entry of a name counts. The state folder is not used, but it has to be set.
	own := []string{"ZIGATE_OTA_STATE_DIR=/nonexistent"}
	if broker != "" {
		own = append(own, "ZIGATE_OTA_MQTT_URL="+broker)
	}

	if topic != "" {
		own = append(own, "ZIGATE_OTA_MQTT_BASE_TOPIC="+topic)
	}
	for _, entry := range environ {
		if name, _, _ := strings.Cut(entry, "="); !slices.Contains(others, name) {
			own = append(own, entry)
		}
	}

	cfg, err := config.Load(own)
	if err != nil {
		from := ""
		if broker != "" || topic != "" {
			from = " (--broker stands for ZIGATE_OTA_MQTT_URL, --topic for ZIGATE_OTA_MQTT_BASE_TOPIC)"
		}
		return shell.Broker{}, fmt.Errorf("the configuration has mistakes%s:\n%w", from, err)
	}

	b := shell.Broker{
		URLs:     cfg.MQTT.URL,
		Username: cfg.MQTT.Username.Reveal(),
		Password: cfg.MQTT.Password.Reveal(),
		Base:     cfg.MQTT.BaseTopic,
	}

	if b.TLS, err = cfg.MQTT.TLS(); err != nil {
		return shell.Broker{}, err
	}
	if cfg.MQTT.Embedded() {
		if cfg.Broker.Addr.Port() == 0 {
			return shell.Broker{}, errors.New("ZIGATE_OTA_BROKER_ADDR has port 0, " +
				"so the service's own broker is at another port at each start: name it with --broker")
		}
		b.URLs = []string{"tcp://" + reachable(string(cfg.Broker.Addr))}
		b.Embedded = true
	}
	return b, nil
}
