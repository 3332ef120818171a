# An alarm goes off in the middle of a rolling update while the server is away: the old revision comes back
seed 22
at 0s machine anna cores 4 memory 4096
at 0s machine bert cores 4 memory 4096
at 0s image web runs pull 20s
at 1s register web image web cpu 128 memory 128
at 2s service web of web desired 4 minimum 100 maximum 150 alarm rolls back
at 120s register web image web cpu 128 memory 128
at 120s update web to web:2
at 122s kill server for 10s
at 125s alarm web for 60s
expect web runs 4 of web:1
expect web says deployment failed: alarm detected.
