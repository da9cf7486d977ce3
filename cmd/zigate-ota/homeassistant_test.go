package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/config"
	"github.com/zigate-ota/zigate-ota/otasvc"
)

// yamlFile reads a YAML file, by Debian's own Python, as JSON has it. Without that the test is
// skipped, but not in CI.
func yamlFile(t *testing.T, path string) any {
	t.Helper()
	const program = "import json,sys,yaml; json.dump(yaml.safe_load(open(sys.argv[1], encoding='utf-8')), sys.stdout)"
	python := "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import yaml").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("there is no YAML for %s, and CI has to have it: %v", python, err)
		}
		t.Skipf("there is no YAML for %s", python)
	}
	cmd := exec.Command(python, "-c", program, root+path)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", path, err, stderr.String())
	}
	var v any
	if err := json.Unmarshal(out, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// visit calls see for every object within v.
func visit(v any, see func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		see(v)
		for _, member := range v {
			visit(member, see)
		}
	case []any:
		for _, element := range v {
			visit(element, see)
		}
	}
}

// entityIDs are the identifiers that Home Assistant gives the entities of a discovery document: the platform,
// and the names of device and entity in lower case with underscores.
func entityIDs(document map[string]any) []string {
	slug := func(name any) string {
		return strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(fmt.Sprint(name)), "_"), "_")
	}
	var ids []string
	components, _ := document["components"].(map[string]any)
	for _, c := range components {
		entity, _ := c.(map[string]any)
		ids = append(ids, fmt.Sprintf("%v.%s_%s", entity["platform"], slug(at(document, "device", "name")), slug(entity["name"])))
	}
	return ids
}

// What we give people to paste into Home Assistant can be read, and all that it names exists: entities in the
// discovery of a running service, operations and their keys at that service, events, scripts.
func TestHomeAssistantFiles(t *testing.T) {
	t.Parallel()
	automations := yamlFile(t, "deploy/homeassistant/automations.yaml")
	scripts := yamlFile(t, "deploy/homeassistant/scripts.yaml")
	dashboard := yamlFile(t, "deploy/homeassistant/dashboard.yaml")
	s := serveHere(t, 1000)
	s.settle()
	token := s.client.Subscribe("homeassistant/#", 1, func(_ mqtt.Client, m mqtt.Message) {
		s.heard.add(published{m.Topic(), string(m.Payload()), m.Retained()})
	})
	if token.Wait(); token.Error() != nil {
		t.Fatal(token.Error())
	}
	known := entityIDs(s.heard.await(t, "discovery of the dongle", onTopic("homeassistant/device/zigate_ota_00158d0001020304/config", nil)).object())
	for name := range scripts.(map[string]any) {
		known = append(known, "script."+name)
	}

	entity := regexp.MustCompile(`\b(sensor|binary_sensor|button|update|script)\.(zigate_ota_[a-z0-9_]+)`)
	named, asked := 0, 0
	for _, path := range []string{"automations.yaml", "scripts.yaml", "dashboard.yaml"} {
		content, err := os.ReadFile(root + "deploy/homeassistant/" + path)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range entity.FindAllString(string(content), -1) {
			named++
			if !slices.Contains(known, id) {
				t.Errorf("%s: there is no %s; there are %v", path, id, known)
			}
		}
	}
	events := []string{"zigate-ota/event/" + string(otasvc.EventUpgradeFailed), "zigate-ota/response/upgrade"}
	for _, file := range []any{automations, scripts, dashboard} {
		visit(file, func(o map[string]any) {
			if o["trigger"] == "mqtt" && !slices.Contains(events, fmt.Sprint(o["topic"])) {
				t.Errorf("nothing is published on %v", o["topic"])
			}
			if o["action"] != "mqtt.publish" {
				return
			}
			operation, ok := strings.CutPrefix(fmt.Sprint(at(o, "data", "topic")), "zigate-ota/request/")
			payload := fmt.Sprint(at(o, "data", "payload"))
			if payload == `{{ {"deviceId": repeat.item} | to_json }}` {
				payload = `{"deviceId":"` + kitchen + `"}`
			}
			if !ok || at(o, "data", "retain") != nil {
				t.Errorf("publishes %v", o["data"])
				return
			}
			asked++
			body := jsonObject(payload)
			delete(body, "transaction")
			bare, err := json.Marshal(body)
			if err != nil || body == nil {
				t.Fatalf("payload %s: %v", payload, err)
			}
			if got := s.ask(operation, string(bare)); at(got.object(), "status") == "invalidData" {
				t.Errorf("%s %s: %s", operation, payload, got)
			}
		})
	}
	if named < 8 || asked < 5 {
		t.Errorf("%d entities and %d requests: are the files read at all?", named, asked)
	}
	for i, a := range automations.([]any) {
		for _, key := range []string{"id", "alias", "triggers", "conditions", "actions", "mode"} {
			if at(a.(map[string]any), key) == nil {
				t.Errorf("automation %d has no %s", i, key)
			}
		}
	}
	visit(dashboard, func(o map[string]any) {
		if o["tap_action"] != nil && at(o, "tap_action", "perform_action") == nil {
			t.Errorf("a button without an action: %v", o)
		}
	})
}

// The app's options are variables of the service, documented and explained, and its defaults are taken.
func TestHomeAssistantApp(t *testing.T) {
	manifest := yamlFile(t, "deploy/homeassistant/zigate-ota/config.yaml").(map[string]any)
	texts := yamlFile(t, "deploy/homeassistant/zigate-ota/translations/en.yaml").(map[string]any)
	docs := document(t, "deploy/homeassistant/zigate-ota/DOCS.md")
	schema, _ := manifest["schema"].(map[string]any)
	options, _ := manifest["options"].(map[string]any)
	explained, _ := texts["configuration"].(map[string]any)
	known := config.Variables()
	for name := range schema {
		if !slices.Contains(known, "ZIGATE_OTA_"+strings.ToUpper(name)) {
			t.Errorf("option %s is no variable of the service", name)
		}
		if explained[name] == nil {
			t.Errorf("option %s has no text", name)
		}
		if !strings.Contains(docs, "`"+name+"`") {
			t.Errorf("option %s is not in DOCS.md", name)
		}
	}
	for name := range explained {
		if schema[name] == nil {
			t.Errorf("there is a text for %s, which is no option", name)
		}
	}
	environ := slices.Clone(home)
	for name, value := range options {
		kind, there := schema[name]
		if !there {
			t.Errorf("default for %s, which is no option", name)
		}
		if text, _ := kind.(string); strings.HasSuffix(text, "?") {
			t.Errorf("%s has a default and may be left out", name)
		}
		if list, ok := value.([]any); ok && len(list) == 0 {
			continue
		}
		environ = append(environ, fmt.Sprintf("ZIGATE_OTA_%s=%v", strings.ToUpper(name), value))
	}
	if _, err := config.Load(environ); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for key, want := range map[string]string{"slug": "zigate_ota", "services": "[mqtt:want]", "uart": "true", "startup": "services"} {
		if got := fmt.Sprint(manifest[key]); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
	if docker := document(t, "deploy/homeassistant/zigate-ota/Dockerfile"); !strings.Contains(docker, fmt.Sprintf("BUILD_VERSION=%v\n", manifest["version"])) {
		t.Errorf("the Dockerfile has another version than %v", manifest["version"])
	}
}

// fakeSupervisor is a Home Assistant supervisor as far as the app needs one. service is its
// answer about MQTT.
func fakeSupervisor(t *testing.T, status int, service string) (url string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer token-5678" || r.URL.Path != "/services/mqtt" {
			http.Error(w, `{"result":"error","message":"unauthorized"}`, http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, service)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// runApp starts the app's own start script, with the program built from here.
func runApp(t *testing.T, supervisor, options string, more ...string) *process {
	t.Helper()
	tool(t, "jq")
	tool(t, "curl")
	script, err := filepath.Abs(root + "deploy/homeassistant/zigate-ota/run.sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "options.json")
	if err := os.WriteFile(file, []byte(options), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := append([]string{
		"PATH=" + filepath.Dir(programPath(t)) + ":" + os.Getenv("PATH"), "HOME=" + dir, "ZIGATE_OTA_STATE_DIR=" + dir + "/state",
		"ZIGATE_OTA_HTTP_ADDR=127.0.0.1:0", "ZIGATE_OTA_IMAGE_INDEXES=none", "OPTIONS_FILE=" + file, "SUPERVISOR_URL=" + supervisor, "SUPERVISOR_TOKEN=token-5678",
	}, more...)
	return start(t, environ, tool(t, "bash"), script)
}

// The app starts with the broker, user and password of Home Assistant's own MQTT service, and its options.
func TestHomeAssistantAppRuns(t *testing.T) {
	t.Parallel()
	const password = `pass'w$ord "1234`
	dir := t.TempDir()
	passwords := filepath.Join(dir, "passwords")
	if err := os.WriteFile(passwords, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string]string{"apps": password, "test": "secret"} {
		if out, err := exec.Command(tool(t, "mosquitto_passwd"), "-b", passwords, name, secret).CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_passwd: %v\n%s", err, out)
		}
	}
	m := newMosquitto(t, "allow_anonymous false", "password_file "+passwords).user("test")
	heard := m.sub("#")
	service := fmt.Sprintf(`{"result":"ok","data":{"addon":"core_mosquitto","host":"127.0.0.1","port":%s,"ssl":false,"protocol":"3.1.1","username":"apps","password":%s}}`,
		m.port, strconv.Quote(password))
	options := `{"dongle":"sim","mqtt_base_topic":"house/it's-ota","image_indexes":[],"image_allowed_hosts":["a.example","*.b.example"],
		"upgrade_policy":"manual","upgrade_canary":false,"upgrade_window":"02:00-05:00","log_level":"info","http_token":null,"mqtt_url":""}`
	p := runApp(t, fakeSupervisor(t, http.StatusOK, service), options)
	heard.await(t, "online", func(m published) bool { return m.Topic == "house/it's-ota/status" && m.Payload == "online" })
	heard.await(t, "discovery", onTopic("homeassistant/device/zigate_ota_00158d0001020304/config", nil))
	if strings.Contains(p.stderr.String(), password) || strings.Contains(p.stdout.String(), password) {
		t.Error("the password is shown")
	}
}

// Without a broker the app says what to do; options that name one need no supervisor.
func TestHomeAssistantAppWithoutBroker(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status  int
		service string
		options string
		says    string
	}{
		"no service": {400, `{"result":"error","message":"Service not enabled"}`, `{"dongle":"sim"}`, "Mosquitto broker"},
		"no JSON":    {502, `Bad gateway`, `{"dongle":"sim"}`, "Mosquitto broker"},
		"no options": {200, `{}`, `{"dongle":`, "options"},
		"own broker": {400, `{}`, `{"dongle":"sim","mqtt_url":"tcp://127.0.0.1:1","mqtt_username":"user","mqtt_password":"x"}`, "no connection to the MQTT broker"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := runApp(t, fakeSupervisor(t, tt.status, tt.service), tt.options)
			p.stderr.await(t, "what is wrong", func(line string) bool { return strings.Contains(line, tt.says) })
			if name != "own broker" {
				<-p.done
				if p.cmd.ProcessState.Success() {
					t.Error("it ended as if all were well")
				}
			}
		})
	}
}
