using HybridArchitectures.Evaluation.Sweeps;
using HybridArchitectures.Reports.Page;
using HybridArchitectures.Tests.Architecture;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Cli.Tests;

/// <summary>
/// Tests that dependencies between the namespaces of a project point in one direction. The folders are tested with the core library.
/// </summary>
public class RoomTests
{
    [Theory]
    [InlineData(typeof(Trainer))]
    [InlineData(typeof(Sweep))]
    [InlineData(typeof(RunReport))]
    [InlineData(typeof(CommandTree))]
    public void No_two_namespaces_depend_on_each_other(Type one) => Assert.Empty(new NamespaceGraph(one.Assembly).Cycles());
}
