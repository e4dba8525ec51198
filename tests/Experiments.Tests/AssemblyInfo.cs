// native work uses all cores by itself, and tests that count live objects must be alone
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]
