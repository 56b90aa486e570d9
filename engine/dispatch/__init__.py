"""From a function's name to an environment that runs it: routes, deployments and the scheduler's shell.

`routes` turns what a caller wrote (a name, an ARN, a qualifier) into a `Route`; `deployment` is what one function
revision needs to be started; `dispatcher` feeds the pure scheduler and carries out what it decides.
"""
