# Spot capacity is taken back while the server dies between choosing the tasks and stopping them; a rollout stops one of them first
seed 25541
at 0s machine m1 cores 8 memory 8541
at 0s image slow runs
at 0s image deaf ignores stops
at 0s machine f0 cores 4 memory 8168 fargate
at 1s register s0 image slow cpu 192 memory 128
at 1s register s1 image deaf cpu 192 memory 64
at 1s register lent image slow cpu 256 memory 512 fargate
at 12068ms service s1 of s1 desired 2 minimum 50 maximum 200 blue-green bake 180s function PRODUCTION_TRAFFIC_SHIFT succeeds
at 19140ms service lent of lent desired 2 minimum 50 maximum 200 breaker alarm rolls back fargate spot
at 218996ms register lent image slow cpu 256 memory 512 fargate
at 218996ms update lent to lent
at 219018ms register s0 image slow cpu 64 memory 192
at 220519ms reclaim 2 spot tasks
at 220522ms kill server for 60s
expect lent runs 2 of lent:2
