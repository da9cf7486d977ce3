package mqttclient_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"go.uber.org/goleak"

	"github.com/zigate-ota/zigate-ota/bridge/mqttclient"
)

// neededMosquitto skips a test where something of Mosquitto is not installed, but not where it has to be.
func neededMosquitto(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed", what)
	}
	t.Skipf("%s is not installed", what)
}

// mosquitto is a broker process.
type mosquitto struct {
	t       *testing.T
	program string
	dir     string
	config  string
	addr    string
	process *exec.Cmd
	output  *logLines
}

// newMosquitto starts a Mosquitto on a free port; more lines of its configuration follow the listener's.
func newMosquitto(t *testing.T, lines ...string) *mosquitto {
	t.Helper()
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			neededMosquitto(t, "mosquitto")
		}
	}
	m := &mosquitto{t: t, program: program, dir: t.TempDir(), addr: freePort(t), output: &logLines{}}
	m.configure(lines...)
	m.start()
	t.Cleanup(func() {
		m.kill()
		if t.Failed() {
			t.Logf("mosquitto said:\n%s", m.output.buffer.String())
		}
	})
	return m
}

// configure writes the configuration for the next start.
func (m *mosquitto) configure(lines ...string) {
	m.t.Helper()
	_, port, _ := net.SplitHostPort(m.addr)
	lines = append([]string{"listener " + port + " 127.0.0.1"}, lines...)
	if os.Getuid() == 0 {
		lines = append([]string{"user root"}, lines...) // it could not read the files of the test otherwise
	}
	m.config = m.file("mosquitto.conf", strings.Join(lines, "\n")+"\n")
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// file writes a file beside the configuration and returns its path.
func (m *mosquitto) file(name, content string) string {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		m.t.Fatal(err)
	}
	return path
}

// start starts the process and waits until it listens. It remembers nothing of an earlier one.
func (m *mosquitto) start() {
	m.t.Helper()
	m.process = exec.Command(m.program, "-c", m.config)
	m.process.Stdout, m.process.Stderr = m.output, m.output
	if err := m.process.Start(); err != nil {
		m.t.Fatal(err)
	}
	eventually(m.t, "mosquitto listens", func() bool {
		conn, err := net.Dial("tcp", m.addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// kill ends the process with SIGKILL.
func (m *mosquitto) kill() {
	if m.process == nil {
		return
	}
	_ = m.process.Process.Kill()
	_ = m.process.Wait()
	m.process = nil
}

func (m *mosquitto) open(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
	return net.Dial("tcp", m.addr)
}

func eventually(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !reached(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not reached: %s", what)
		}
	}
}

// collects waits until a watcher or an inbox has given everything that is wanted.
func collects(t *testing.T, what string, take func() []string, want []string) {
	t.Helper()
	var got []string
	deadline := time.Now().Add(30 * time.Second)
	for len(got) < len(want) && time.Now().Before(deadline) {
		got = append(got, take()...)
		time.Sleep(20 * time.Millisecond)
	}
	wantMQTT(t, what, want, got)
}

// mosquittoHash is how Mosquitto keeps passwords: PBKDF2 over SHA-512.
func mosquittoHash(t *testing.T, password string) (salt, hash string, iterations int) {
	t.Helper()
	raw := make([]byte, 12)
	_, _ = rand.Read(raw)
	const rounds = 101
	key, err := pbkdf2.Key(sha512.New, password, raw, rounds, 64)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(raw), base64.StdEncoding.EncodeToString(key), rounds
}

func TestMosquittoPassword(t *testing.T) {
	salt, hash, rounds := mosquittoHash(t, "secret")
	passwords := filepath.Join(t.TempDir(), "passwords")
	if err := os.WriteFile(passwords, fmt.Appendf(nil, "user:$7$%d$%s$%s\n", rounds, salt, hash), 0o600); err != nil {
		t.Fatal(err)
	}
	m := newMosquitto(t, "allow_anonymous false", "password_file "+passwords)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())

	var log logLines
	wrong := newClient(t, mqttclient.Options{URLs: []string{"tcp://" + m.addr}, Username: "user", Password: "wrong", ClientID: "wrong", Logger: log.logger()})
	stopWrong := runClient(t, wrong)
	right := newClient(t, mqttclient.Options{URLs: []string{"tcp://user:secret@" + m.addr}})
	stopRight := runClient(t, right)
	eventually(t, "connected with the right password", right.Connected)
	eventually(t, "refused with the wrong one", func() bool { return errors.Is(wrong.Health(), mqttclient.ErrBrokerRefused) })
	if err := right.Health(); err != nil {
		t.Errorf("Health with the right password: %v", err)
	}
	if !strings.Contains(wrong.Health().Error(), "ZIGATE_OTA_MQTT_PASSWORD") {
		t.Errorf("Health with the wrong password does not say what to do: %v", wrong.Health())
	}
	stopWrong()
	stopRight()
}

// TestMosquittoAccessList has a user that may connect and publish but not subscribe. (An acl_file does not
// do: Mosquitto grants the subscription then, and just delivers nothing.)
func TestMosquittoAccessList(t *testing.T) {
	plugins, _ := filepath.Glob("/usr/lib*/mosquitto_dynamic_security.so")
	more, _ := filepath.Glob("/usr/lib*/*/mosquitto_dynamic_security.so")
	plugins = append(plugins, more...)
	if len(plugins) == 0 {
		neededMosquitto(t, "mosquitto_dynamic_security.so")
	}
	salt, hash, rounds := mosquittoHash(t, "secret")
	type object = map[string]any
	rules, err := json.Marshal(object{
		"defaultACLAccess": object{"publishClientSend": false, "publishClientReceive": true, "subscribe": false, "unsubscribe": true},
		"clients": []object{{
			"username": "user", "password": hash, "salt": salt, "iterations": rounds,
			"roles": []object{{"rolename": "publisher"}},
		}},
		"roles": []object{{
			"rolename": "publisher",
			"acls":     []object{{"acltype": "publishClientSend", "topic": "base/#", "allow": true}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rules.json")
	if err := os.WriteFile(path, rules, 0o600); err != nil {
		t.Fatal(err)
	}
	m := newMosquitto(t, "allow_anonymous false", "plugin "+plugins[0], "plugin_opt_config_file "+path)
	c := newClient(t, mqttclient.Options{
		URLs: []string{"tcp://" + m.addr}, Username: "user", Password: "secret",
		Subscriptions: []mqttclient.Subscription{{Filter: "base/request/#", Handler: new(messageInbox).handle}},
	})
	stop := runClient(t, c)
	eventually(t, "denied", func() bool { return errors.Is(c.Health(), mqttclient.ErrBrokerRefused) })
	if err := c.Health(); !strings.Contains(err.Error(), "base/request/#") {
		t.Errorf("Health = %v: does not name the subscription", err)
	}
	if c.Connected() {
		t.Error("connected without its subscription")
	}
	stop()
}

// TestMosquittoKilled: the broker is killed and comes back knowing nothing.
func TestMosquittoKilled(t *testing.T) {
	m := newMosquitto(t, "allow_anonymous true", "persistence false")
	var inbox messageInbox
	c := newClient(t, mqttclient.Options{
		URLs:          []string{"tcp://" + m.addr},
		Subscriptions: []mqttclient.Subscription{{Filter: "base/request/#", Handler: inbox.handle}},
	})
	stop := runClient(t, c)
	c.Retain("base/device/1", []byte("a"))
	c.Retain("base/device/2", []byte("a"))
	c.Publish("base/event/a", []byte("0"))
	watcher := watchBroker(t, m.open, "base/device/+")
	collects(t, "retained", func() []string { return withoutMark(watcher.take()) }, []string{"base/device/1=a", "base/device/2=a"})

	m.kill()
	eventually(t, "the loss is seen", func() bool { return !c.Connected() })
	want := []string{"base/status=online", "base/device/1=a", "base/device/2=b"}
	c.Retain("base/device/2", []byte("b"))
	for i := range 200 {
		c.Publish("base/event/a", fmt.Append(nil, i))
		want = append(want, fmt.Sprintf("base/event/a=%d", i))
	}
	m.start()
	watcher = watchBroker(t, m.open, "#")
	eventually(t, "connected again", c.Connected)
	// Whether the watcher or the service is there first decides what of this is delivered as retained.
	collects(t, "published again", func() []string { return withoutMark(watcher.take()) }, want)
	watcher.publish(t, "base/request/a", 2, false, "1")
	collects(t, "commands", inbox.take, []string{"base/request/a=1"})
	stop()
	collects(t, "the end", watcher.takeStatus, []string{"base/status=offline"})
	watcher.close()
}

func withoutMark(all []string) []string {
	for i, s := range all {
		all[i] = strings.TrimSuffix(s, " (retained)")
	}
	return all
}

func (w *brokerWatcher) takeStatus() []string {
	return slices.DeleteFunc(w.take(), func(s string) bool { return !strings.HasPrefix(s, "base/status=") })
}

// TestMosquittoSession: the Last Will of a service that dies, and the commands that wait for the next one.
func TestMosquittoSession(t *testing.T) {
	m := newMosquitto(t, "allow_anonymous true", "persistence false")
	watcher := watchBroker(t, m.open, "base/status")
	var (
		mu   sync.Mutex
		dead bool
		last net.Conn
	)
	var inbox messageInbox
	subscriptions := []mqttclient.Subscription{{Filter: "base/request/#", Commands: inbox.command}}
	c := newClient(t, mqttclient.Options{
		Subscriptions: subscriptions,
		OpenConnection: func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			if dead {
				return nil, errors.New("dead")
			}
			var err error
			last, err = m.open(nil, mqtt.ClientOptions{})
			return last, err
		},
	})
	stop := runClient(t, c)
	collects(t, "start", watcher.take, []string{"base/status=online"})
	mu.Lock()
	dead = true
	last.Close()
	mu.Unlock()
	collects(t, "sudden death", watcher.take, []string{"base/status=offline"})
	stop()

	var want []string
	for i := range 10 {
		watcher.publish(t, "base/request/a", byte(1+i%2), false, fmt.Sprint(i))
		want = append(want, fmt.Sprintf("base/request/a=%d", i))
	}
	for qos := range byte(3) { // these must not be carried out
		watcher.publish(t, fmt.Sprint("base/request/kept", qos), qos, true, "kept")
		want = append(want, fmt.Sprintf("base/request/kept%d=kept (retained)", qos))
	}
	stop = runClient(t, newClient(t, mqttclient.Options{URLs: []string{"mqtt://" + m.addr}, Subscriptions: subscriptions}))
	// What is retained comes first: what has waited is held back until it is known.
	want = slices.Concat(want[10:], want[:10])
	collects(t, "commands of the time away", inbox.take, want)
	stop()
	collects(t, "status", watcher.take, []string{"base/status=online", "base/status=offline"})
	watcher.close()
}

// certAuthority is a certificate authority for a test, and a certificate that it signed for clients and
// servers on this machine.
type certAuthority struct {
	pool *x509.CertPool
	own  []byte // its certificate, PEM
	cert tls.Certificate
}

func newAuthority(t *testing.T, certPath, keyPath string) certAuthority {
	t.Helper()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test broker"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, server, ca, key.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		certPath: {Type: "CERTIFICATE", Bytes: der},
		keyPath:  {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		var out bytes.Buffer
		if err := pem.Encode(&out, block); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	authority, err := x509.ParseCertificate(caDER)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(authority)
	return certAuthority{
		pool: pool, own: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}),
		cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
	}
}

// TestMosquittoTransports goes over TLS and WebSockets, with the right authority and the wrong ones.
func TestMosquittoTransports(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	authority := newAuthority(t, cert, key)
	trusting := &tls.Config{RootCAs: authority.pool}
	secured := []string{"certfile " + cert, "keyfile " + key}
	listen := func(protocol string, more ...string) (string, []string) {
		addr := freePort(t)
		_, port, _ := net.SplitHostPort(addr)
		return addr, append([]string{"listener " + port + " 127.0.0.1", "protocol " + protocol}, more...)
	}
	overTLS, tlsLines := listen("mqtt", secured...)
	overWS, wsLines := listen("websockets")
	overWSS, wssLines := listen("websockets", secured...)
	clientCA := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(clientCA, authority.own, 0o600); err != nil {
		t.Fatal(err)
	}
	known, knownLines := listen("mqtt", append(secured, "cafile "+clientCA, "require_certificate true")...)
	m := newMosquitto(t, slices.Concat(tlsLines, wsLines, wssLines, knownLines, []string{"allow_anonymous true"})...)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())

	_, tlsPort, _ := net.SplitHostPort(overTLS)
	tests := []struct {
		name string
		url  string
		tls  *tls.Config
		want string // in Health; empty: connects
	}{
		{name: "TLS", url: "ssl://" + overTLS, tls: trusting},
		{name: "WebSocket", url: "ws://" + overWS},
		{name: "secure WebSocket", url: "wss://" + overWSS, tls: trusting},
		{name: "client certificate", url: "ssl://" + known, tls: &tls.Config{RootCAs: authority.pool, Certificates: []tls.Certificate{authority.cert}}},
		{name: "client certificate missing", url: "ssl://" + known, tls: trusting, want: "ZIGATE_OTA_MQTT_CERT_FILE"},
		{name: "TLS, unknown authority", url: "ssl://" + overTLS, want: "ZIGATE_OTA_MQTT_CA_FILE"},
		{name: "secure WebSocket, unknown authority", url: "wss://" + overWSS, want: "ZIGATE_OTA_MQTT_CA_FILE"},
		{name: "TLS, other name", url: "ssl://localhost:" + tlsPort, tls: trusting, want: "ZIGATE_OTA_MQTT_URL"},
		{name: "TLS to a port without", url: "ssl://" + m.addr, tls: trusting, want: "reachable"},
		{name: "no TLS to a port with", url: "tcp://" + overTLS, want: "reachable"},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t, mqttclient.Options{URLs: []string{tt.url}, TLS: tt.tls, ClientID: fmt.Sprint("client", i), Base: fmt.Sprint("base", i)})
			first := c.Health().Error()
			stop := runClient(t, c)
			defer stop()
			if tt.want == "" {
				eventually(t, "connected", c.Connected)
				return
			}
			eventually(t, "told", func() bool { return c.Health().Error() != first })
			if err := c.Health(); !strings.Contains(err.Error(), tt.want) || !errors.Is(err, mqttclient.ErrBrokerUnreachable) {
				t.Errorf("Health = %v, want %q in it", err, tt.want)
			}
		})
	}
}
