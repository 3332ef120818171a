# The server's clock is set back by an hour, and then an alarm goes off: it is heard all the same
seed 24
at 0s machine anna cores 4 memory 4096
at 0s image web runs
at 1s register web image web cpu 128 memory 128
at 2s service web of web desired 2 minimum 100 maximum 200 alarm rolls back canary 20 every 600s bake 0s
at 900s register web image web cpu 128 memory 128
at 900s update web to web:2
at 1000s clock server off -3600000
at 1100s alarm web for 60s
expect web runs 2 of web:1
expect web says deployment failed: alarm detected.
