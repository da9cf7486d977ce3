package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode/utf8"
)

// The variables that checks are about, beyond the form of a single value.
const (
	mqttURLVariable       = envPrefix + "_MQTT_URL"
	mqttUsernameVariable  = envPrefix + "_MQTT_USERNAME"
	mqttPasswordVariable  = envPrefix + "_MQTT_PASSWORD"
	mqttClientIDVariable  = envPrefix + "_MQTT_CLIENT_ID"
	mqttBaseTopicVariable = envPrefix + "_MQTT_BASE_TOPIC"
	mqttCAFileVariable    = envPrefix + "_MQTT_CA_FILE"
	mqttCertFileVariable  = envPrefix + "_MQTT_CERT_FILE"
	mqttKeyFileVariable   = envPrefix + "_MQTT_KEY_FILE"
	brokerAddrVariable    = envPrefix + "_BROKER_ADDR"
	haPrefixVariable      = envPrefix + "_HOMEASSISTANT_PREFIX"
	httpAddrVariable      = envPrefix + "_HTTP_ADDR"
	httpTokenVariable     = envPrefix + "_HTTP_TOKEN"
	stateDirVariable      = envPrefix + "_STATE_DIR"
	imageDirVariable      = envPrefix + "_IMAGE_DIR"
	imageCAFileVariable   = envPrefix + "_IMAGE_CA_FILE"
	shareAddrVariable     = envPrefix + "_SHARE_ADDR"
	sharePTYVariable      = envPrefix + "_SHARE_PTY"
	shareOTAVariable      = envPrefix + "_SHARE_OTA"
	blockIntervalVariable = envPrefix + "_UPGRADE_BLOCK_INTERVAL"
	stallTimeoutVariable  = envPrefix + "_UPGRADE_STALL_TIMEOUT"
)

// mistakes has what is wrong, by variable. Of each variable the first mistake counts, because others may
// follow from it.
type mistakes map[string]error

func (m mistakes) add(variable string, err error) {
	if err != nil && m[variable] == nil {
		m[variable] = err
	}
}

func (m mistakes) addf(variable, format string, args ...any) {
	m.add(variable, fmt.Errorf(format, args...))
}

// none reports whether no mistake was found in the variables, so that they can be compared with each other.
func (m mistakes) none(variables ...string) bool {
	for _, v := range variables {
		if m[v] != nil {
			return false
		}
	}
	return true
}

// inOrder lists the mistakes in the order of the settings, one line each.
func (m mistakes) inOrder(settings []setting) []error {
	var errs []error
	for _, s := range settings {
		if err := m[s.name]; err != nil {
			errs = append(errs, fmt.Errorf("%s: %w; allowed: %s", s.name, err, s.allowed()))
		}
	}
	return errs
}

// check finds the mistakes that envconfig cannot find: in the form of plain strings, and in settings that
// need or exclude each other.
func (c *Config) check(found mistakes) {
	c.MQTT.check(found)
	if err := checkTopic(c.HomeAssistant.Prefix); err != nil {
		found.add(haPrefixVariable, err)
	}
	if c.HomeAssistant.Discovery && c.HomeAssistant.Prefix == c.MQTT.BaseTopic &&
		found.none(mqttBaseTopicVariable) {
		found.addf(haPrefixVariable, "the same as %s", mqttBaseTopicVariable)
	}

	if c.MQTT.Embedded() && found.none(mqttURLVariable, brokerAddrVariable, httpAddrVariable) {
		if port := c.Broker.Addr.Port(); port != 0 && port == c.HTTP.Addr.Port() {
			found.addf(brokerAddrVariable, "has the port of %s", httpAddrVariable)
		}
	}

	var embedded *Address
	if c.MQTT.Embedded() {
		embedded = &c.Broker.Addr
	}
	c.Share.check(found, c.HTTP.Addr, embedded)
	if strings.ContainsFunc(c.HTTP.Token.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }) {
		found.addf(httpTokenVariable, "holds characters that do not fit into an HTTP header")
	}

	for variable, path := range map[string]string{
		stateDirVariable: c.StateDir, imageDirVariable: c.Image.Dir,
	} {
		if !printable(path) {
			found.addf(variable, "%q holds characters that no folder should have", path)
		}
	}

	if _, err := c.Image.Authorities(); err != nil {
		found.add(imageCAFileVariable, err)
	}
	if c.Image.Dir == c.StateDir && found.none(stateDirVariable) {
		found.addf(imageDirVariable, "the same as %s", stateDirVariable)
	}

	if found.none(blockIntervalVariable, stallTimeoutVariable) &&
		c.Upgrade.BlockInterval >= c.Upgrade.StallTimeout {
		found.addf(stallTimeoutVariable, "not longer than %s, so that every download would count as stalled",
			blockIntervalVariable)
	}
}

func (c *MQTTConfig) check(found mistakes) {
	if err := checkTopic(c.BaseTopic); err != nil {
		found.add(mqttBaseTopicVariable, err)
	} else if id := c.ClientID; !printable(id) ||
		utf8.RuneCountInString(id) > 128 && id != strings.ReplaceAll(c.BaseTopic, "/", "-") {
		found.addf(mqttClientIDVariable, "is too long or holds control characters")
	}

	if c.Password.Reveal() != "" && c.Username.Reveal() == "" && found.none(mqttUsernameVariable) {
		found.addf(mqttPasswordVariable, "set without %s", mqttUsernameVariable)
	}
	files := []struct{ variable, path string }{
		{mqttCAFileVariable, c.CAFile}, {mqttCertFileVariable, c.CertFile}, {mqttKeyFileVariable, c.KeyFile},
	}

	content := make(map[string][]byte)
	for _, f := range files {
		if f.path == "" {
			continue
		}
		if found.none(mqttURLVariable) && !c.URL.TLS() {
			found.addf(f.variable, "set, but %s has no TLS address", mqttURLVariable)
			continue
		}
		var err error
		if content[f.variable], err = os.ReadFile(f.path); err != nil {
			found.addf(f.variable, "cannot be read: %w", err)
		}
	}

	if c.CertFile != "" && c.KeyFile == "" {
		found.addf(mqttCertFileVariable, "set without %s", mqttKeyFileVariable)
	}
	if c.KeyFile != "" && c.CertFile == "" {
		found.addf(mqttKeyFileVariable, "set without %s", mqttCertFileVariable)
	}

	if ca, ok := content[mqttCAFileVariable]; ok && !x509.NewCertPool().AppendCertsFromPEM(ca) {
		found.addf(mqttCAFileVariable, "%s holds no certificate in PEM form", c.CAFile)
	}
	cert := content[mqttCertFileVariable]
	key := content[mqttKeyFileVariable]
	if cert != nil && key != nil {
		if _, err := tls.X509KeyPair(cert, key); err != nil {
			found.addf(mqttCertFileVariable, "does not go with %s: %w", mqttKeyFileVariable, err)
		}
	}
}

// checkTopic finds what keeps a text from being the first levels of a topic.
func checkTopic(topic string) error {
	switch {
	case topic == "": // the mistake was found before
		return nil
	case len(topic) > 200:
		return fmt.Errorf("has %d bytes", len(topic))
	case strings.ContainsAny(topic, "+#"):
		return fmt.Errorf("%q has a wildcard", topic)
	case topic[0] == '/' || topic[len(topic)-1] == '/':
		return fmt.Errorf("%q begins or ends with a slash", topic)
	case topic[0] == '$':
		return fmt.Errorf("%q begins with $, which brokers keep for themselves", topic)
	case !printable(topic):
		return errors.New("holds control characters")
	}
	return nil
}
