package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/google/go-cmp/cmp"
)

// natsServer is one of a cluster.
type natsServer struct {
	mqtt    string // address of its MQTT listener
	store   string // its folder
	process *process
}

// natsCluster starts three NATS servers with the configuration that we ship. They listen; whether they have
// agreed on a leader yet shows in what they answer.
func natsCluster(t *testing.T) []natsServer {
	t.Helper()
	program := tool(t, "nats-server")
	config, err := filepath.Abs(root + "deploy/fleet/nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	const servers = 3
	routes := make([]string, servers)
	for i := range routes {
		routes[i] = freePort(t)
	}
	cluster := make([]natsServer, servers)
	for i := range cluster {
		cluster[i].mqtt, cluster[i].store = freePort(t), t.TempDir()
		env := []string{
			"PATH=" + os.Getenv("PATH"), fmt.Sprintf("NATS_NAME=nats-%d", i+1), "NATS_LISTEN=" + freePort(t), "NATS_STORE=" + cluster[i].store,
			"NATS_CLUSTER_LISTEN=" + routes[i], "NATS_USER=fleet", "NATS_PASSWORD=secret-1234",
		}
		for k, route := range routes {
			env = append(env, fmt.Sprintf("NATS_ROUTE_%d=nats://%s", k+1, route))
		}
		cluster[i].process = start(t, append(env, "NATS_MQTT_LISTEN="+cluster[i].mqtt), program, "-c", config)
	}
	for _, s := range cluster {
		s.process.stderr.await(t, "it listens", func(line string) bool { return strings.Contains(line, "Listening for MQTT clients") })
	}
	return cluster
}

// onDisk is how many bytes lie in a folder.
func onDisk(t *testing.T, dir string) (size int64) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(_ string, entry os.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // a server removes files while they are counted
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
		return nil
	})
	return size
}

// fleetClient connects a client of the fleet to the first of the servers that answers, in a session that
// survives. It subscribes to filter, again and again until a server grants it: just after the start, or after
// the loss of a server, some answers of NATS are refusals that mean "not yet".
func fleetClient(t *testing.T, id, filter string, qos byte, servers ...natsServer) (mqtt.Client, *journal[published]) {
	t.Helper()
	heard := newHeard(t)
	o := mqtt.NewClientOptions().SetClientID(id).SetUsername("fleet").SetPassword("secret-1234").SetCleanSession(qos == 0).
		SetConnectRetry(true).SetConnectRetryInterval(time.Second).SetMaxReconnectInterval(time.Second)
	o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
		heard.add(published{m.Topic(), string(m.Payload()), m.Retained()})
	})
	for _, s := range servers {
		o.AddBroker("tcp://" + s.mqtt)
	}
	c := mqtt.NewClient(o)
	if token := c.Connect(); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatalf("%s does not connect: %v", id, token.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	for range 100 {
		token := c.Subscribe(filter, qos, nil).(*mqtt.SubscribeToken)
		if token.WaitTimeout(patience) && token.Error() == nil && token.Result()[filter] <= 2 {
			return c, heard
		}
		awaitTick(t)
	}
	t.Fatalf("%s: nobody grants %s", id, filter)
	return nil, nil
}

// Five dongles, each with its service, on a cluster of three NATS servers. One server is killed while
// all five download: whoever was connected to it, services and consumer, goes on with another one,
// and nothing is lost.
func TestFleet(t *testing.T) {
	t.Parallel()
	cluster := natsCluster(t)
	consumer, heard := fleetClient(t, "consumer", "fleet/#", 1, cluster...)

	const dongles = 5
	base := func(i int) string { return fmt.Sprintf("fleet/dongle-%d", i+1) }
	services := make([]*process, dongles)
	for i := range services {
		var urls []string
		for k := range cluster { // each begins with another one
			urls = append(urls, "tcp://"+cluster[(i+k)%len(cluster)].mqtt)
		}
		services[i] = start(t, environ(t.TempDir(),
			"ZIGATE_OTA_DONGLE="+simulation(t, "--tcp", "127.0.0.1:0", "--speed", "20", "--devices", "1"),
			"ZIGATE_OTA_MQTT_URL="+strings.Join(urls, ","), "ZIGATE_OTA_MQTT_BASE_TOPIC="+base(i),
			"ZIGATE_OTA_MQTT_USERNAME=fleet", "ZIGATE_OTA_MQTT_PASSWORD=secret-1234",
		), programPath(t), "serve")
	}
	publish := func(topic, payload string) {
		t.Helper()
		for range 100 { // it is the consumer's own affair to say again what its broker has not acknowledged
			if token := consumer.Publish(topic, 1, false, payload); token.WaitTimeout(patience) && token.Error() == nil {
				return
			}
			awaitTick(t)
		}
		t.Fatalf("publishing %s: never acknowledged", topic)
	}
	// A request that nobody answers is said again, as a person would: right after a service has connected, a
	// server of the cluster can acknowledge a message of which the subscription, granted by another server a
	// moment before, gets nothing.
	request := func(topic, payload, transaction string) string {
		t.Helper()
		var said []string
		for n := range 10 {
			said = append(said, fmt.Sprintf("%s, %d", transaction, n))
			publish(topic, fmt.Sprintf(`{%s,"transaction":%q}`, payload, said[n]))
			for range 100 {
				answered := func(transaction string) bool { return len(heard.each(responseTo(transaction))) > 0 }
				if i := slices.IndexFunc(said, answered); i >= 0 {
					return said[i]
				}
				awaitTick(t)
			}
		}
		t.Fatalf("%s: nobody answers", transaction)
		return ""
	}
	url := serveFiles(t, map[string][]byte{"bulb.ota": bulbImage(newerVersion, 80_000)}) + "/bulb.ota"
	upgrades := make([]string, dongles)
	for i := range dongles {
		heard.await(t, "bulb of "+base(i), onTopic(base(i)+"/device/"+kitchen, func(d map[string]any) bool {
			return number(d, "currentFileVersion") == bulbVersion && number(d, "imageTypeId") >= 0
		}))
		upgrades[i] = request(base(i)+"/request/upgrade", fmt.Sprintf(`"deviceId":"%s","url":"%s"`, kitchen, url), fmt.Sprint("upgrade ", i))
	}
	offsets := make([]float64, dongles)
	for i := range dongles {
		m := heard.await(t, "download of "+base(i), onTopic(base(i)+"/device/"+kitchen, func(d map[string]any) bool {
			return number(d, "upgrade", "progress") > 2 && at(d, "upgrade", "state") == "downloading"
		}))
		offsets[i] = number(m.object(), "upgrade", "offset")
	}
	before, _ := heard.all()
	// The server that the first service is connected to; most often the consumer and another
	// service are on it, too.
	connected := services[0].stderr.journal.each(func(line string) bool { return strings.Contains(line, "connected to the MQTT broker") })
	victim := slices.IndexFunc(cluster, func(s natsServer) bool { return strings.Contains(connected[len(connected)-1], s.mqtt) })
	if victim < 0 {
		t.Fatalf("the first service is on none of the servers: %q", connected)
	}
	cluster[victim].process.stop() // with SIGKILL
	alive := slices.Delete(slices.Clone(cluster), victim, victim+1)
	renames := make([]string, dongles)
	for i := range dongles { // requests at the worst time
		renames[i] = request(base(i)+"/request/rename", fmt.Sprintf(`"deviceId":"%s","name":"Bulb %d"`, kitchen, i), fmt.Sprint("rename ", i))
	}

	for i := range dongles {
		if got := heard.await(t, base(i)+" renames", finalTo(renames[i])); at(got.object(), "status") != "success" {
			t.Errorf("rename: %s", got)
		}
		succeeded(t, heard.await(t, base(i)+" upgrades", finalTo(upgrades[i])))
		var events []string
		for _, e := range heard.each(func(m published) bool { return strings.HasPrefix(m.Topic, base(i)+"/event/") && !m.Retained }) {
			name := strings.TrimPrefix(e.Topic, base(i)+"/event/")
			if at(e.object(), "euid") == kitchen && name != "downloadProgress" && !slices.Contains(events, name) {
				events = append(events, name) // one that was not acknowledged any more comes twice
			}
		}
		want := []string{"deviceAnnounced", "downloadFinished", "downloadStarted", "imageAdded", "imageNotified", "upgradeApplying", "upgradeSucceeded"}
		if diff := cmp.Diff(want, slices.Sorted(slices.Values(events))); diff != "" {
			t.Errorf("events of %s (-want +got):\n%s", base(i), diff)
		}
	}
	after, _ := heard.all()
	for _, m := range after[len(before):] {
		for i := range dongles {
			if d := m.object(); m.Topic == base(i)+"/device/"+kitchen && !m.Retained && number(d, "upgrade", "offset") < offsets[i] {
				t.Errorf("the download, which was at %v, fell back: %s", offsets[i], m)
			}
		}
	}
	moved := 0
	for i, s := range services {
		lost := s.stderr.journal.each(func(line string) bool { return strings.Contains(line, "no connection to the MQTT broker") })
		if i == 0 && len(lost) == 0 {
			t.Error("the first service has not noticed the loss of its server")
		}
		if len(lost) > 0 {
			moved++
		}
	}
	t.Logf("%d of %d services moved to another server", moved, dongles)

	// What is retained is there on the other two servers. On a busy machine a server lags behind what others
	// keep, so it is asked anew for a while.
	type wanted struct {
		what  string
		match func(published) bool
	}
	var all []wanted
	for i := range dongles {
		for _, topic := range []string{"/info", "/images", "/device/" + kitchen + "/update"} {
			all = append(all, wanted{base(i) + topic, onTopic(base(i)+topic, nil)})
		}
		all = append(all,
			wanted{"status of " + base(i), func(m published) bool { return m.Topic == base(i)+"/status" && m.Payload == "online" }},
			wanted{"bulb of " + base(i), onTopic(base(i)+"/device/"+kitchen, func(d map[string]any) bool {
				return number(d, "currentFileVersion") == newerVersion && at(d, "name") == fmt.Sprint("Bulb ", i)
			})})
	}
	for k, s := range alive {
		for deadline, n := time.Now().Add(patience), 0; ; n++ {
			client, late := fleetClient(t, fmt.Sprint("late ", k, " ", n), "fleet/#", 0, s)
			missing := all
			for range 100 {
				missing = slices.DeleteFunc(slices.Clone(missing), func(w wanted) bool { return len(late.each(w.match)) > 0 })
				if len(missing) == 0 {
					break
				}
				awaitTick(t)
			}
			client.Disconnect(0)
			if len(missing) == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("not there on %s: %s, and %d more", s.mqtt, missing[0].what, len(missing)-1)
			}
		}
	}
	for _, s := range alive {
		t.Logf("a NATS server has %d MB of memory and %d MB on the disk", resident(t, s.process)>>20, onDisk(t, s.store)>>20)
	}
	for i, s := range services {
		t.Logf("%s has %d MB of memory", base(i), resident(t, s)>>20)
		s.stop()
	}
	for i := range dongles {
		heard.await(t, "last will of "+base(i), func(m published) bool { return m.Topic == base(i)+"/status" && m.Payload == "offline" })
	}
}
