module example.org/notes

go 1.19

require (
	github.com/BurntSushi/toml v1.3.2
	github.com/fatih/color v1.15.0
	github.com/google/uuid v1.3.1
	github.com/gorilla/mux v1.8.0
	github.com/pkg/errors v0.9.1
	github.com/sirupsen/logrus v1.9.3
	github.com/spf13/cobra v1.7.0
	github.com/stretchr/testify v1.8.4
	golang.org/x/text v0.13.0
	gopkg.in/yaml.v3 v3.0.1
)
