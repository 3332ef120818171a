# Calls get lost, arrive twice and late; clocks are wrong and disks full; nothing is lost or done twice
seed 6
at 0s machine anna cores 4 memory 4096
at 0s machine bert cores 4 memory 4096
at 0s image web runs
at 0s image job exits 0 after 20s
at 1s register web image web cpu 64 memory 64
at 1s register job image job cpu 64 memory 64
at 2s network loses 100 repeats 100 delay 1500ms
at 3s service web of web desired 5 minimum 50 maximum 150
at 10s run job count 4
at 30s disk server full for 8s
at 40s clock server off -60000
at 50s disk anna full for 20s
at 55s update web desired 8
at 60s clock anna off 300000
at 70s cut bert for 100s
at 80s stop any task
at 90s network
expect web runs 8 of web:1
expect 4 tasks of job
