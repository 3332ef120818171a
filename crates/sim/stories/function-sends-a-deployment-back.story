# Functions cannot be reached for too long: the old tasks go on as if nothing had happened
seed 32
at 0s machine anna cores 4 memory 4096
at 0s machine bert cores 4 memory 4096
at 0s image web runs
at 1s register web image web cpu 128 memory 128
at 2s service web of web desired 3 minimum 100 maximum 200 canary 20 every 60s bake 60s function TEST_TRAFFIC_SHIFT asks 1
at 340s functions away for 180s
at 350s register web image web cpu 128 memory 128
at 350s update web to web:2
expect web runs 3 of web:1
expect web deployments SUCCESSFUL ROLLBACK_SUCCESSFUL
expect web says could not be reached for 60 seconds
