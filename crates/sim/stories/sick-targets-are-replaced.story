# Two tasks fail the health checks of their load balancer, one in its grace period, and an update goes on meanwhile
seed 25
at 0s machine anna cores 4 memory 4096
at 0s machine bert cores 4 memory 4096
at 0s image web runs
at 1s register web image web cpu 128 memory 128 port 0
at 2s service web of web desired 3 minimum 100 maximum 200 balanced grace 40s
at 15s sicken web
at 200s register web image web cpu 128 memory 128 port 0
at 200s update web to web:2
at 205s kill server for 5s
at 260s sicken web
expect web runs 3 of web:2
expect web says is unhealthy in (target-group
