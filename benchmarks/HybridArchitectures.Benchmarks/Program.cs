using BenchmarkDotNet.Running;

namespace HybridArchitectures.Benchmarks;

static class Program
{
    const string Usage = """
        usage: HybridArchitectures.Benchmarks cpu [filter ...]
          cpu       operators in main memory against what a user would compose of TorchSharp's
          filter    benchmarks to run, such as *RmsNorm*; all if none is given
        """;

    static int Main(string[] arguments)
    {
        if (arguments is not ["cpu", .. var filters])
        {
            Console.Error.WriteLine(Usage);
            return 1;
        }
        var summaries = BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(["--filter", .. filters.Length > 0 ? filters : ["*Cpu*"]], new CpuConfig());
        return summaries.Any() && summaries.All(summary => summary.Reports.All(report => report.Success)) ? 0 : 1;
    }
}
