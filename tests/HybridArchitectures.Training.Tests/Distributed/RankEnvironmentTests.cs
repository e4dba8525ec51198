using System.Net;
using System.Net.Sockets;
using HybridArchitectures.Training.Distributed;

namespace HybridArchitectures.Training.Tests.Distributed;

public sealed class RankEnvironmentTests
{
    static RankEnvironment? Read(params (string Name, string Value)[] variables)
    {
        var all = variables.ToDictionary(item => item.Name, item => item.Value);
        return RankEnvironment.Read(all.GetValueOrDefault);
    }

    [Fact]
    public void Every_launcher_is_understood()
    {
        Assert.Null(Read());
        Assert.Equal(new RankEnvironment("Open MPI", 3, 4, 1),
            Read(("OMPI_COMM_WORLD_RANK", "3"), ("OMPI_COMM_WORLD_SIZE", "4"), ("OMPI_COMM_WORLD_LOCAL_RANK", "1")));
        Assert.Equal(new RankEnvironment("MPICH", 1, 2, 1), Read(("PMI_RANK", "1"), ("PMI_SIZE", "2"), ("MPI_LOCALRANKID", "1")));
        Assert.Equal(new RankEnvironment("torchrun", 9, 16, 1) { MasterAddress = "node0", MasterPort = 29501 },
            Read(("RANK", "9"), ("WORLD_SIZE", "16"), ("LOCAL_RANK", "1"), ("MASTER_ADDR", "node0"), ("MASTER_PORT", "29500"),
            ("TORCHELASTIC_USE_AGENT_STORE", "True")));
        Assert.Equal(new RankEnvironment("Slurm", 5, 8, 1),
            Read(("SLURM_PROCID", "5"), ("SLURM_NTASKS", "8"), ("SLURM_LOCALID", "1"), ("SLURM_STEP_NUM_TASKS", "8")));
    }

    [Fact]
    public void A_shell_in_an_allocation_of_Slurm_is_one_process() =>
        Assert.Null(Read(("SLURM_PROCID", "0"), ("SLURM_NTASKS", "1"), ("SLURM_LOCALID", "0")));

    [Fact]
    public void Variables_that_do_not_fit_are_named()
    {
        Assert.Equal("the environment variable WORLD_SIZE is not set; expected a number from 1.",
            Assert.Throws<CollectiveException>(() => Read(("RANK", "0"))).Message);
        Assert.Equal("the environment variable RANK is '4'; expected a number from 0 to 3.",
            Assert.Throws<CollectiveException>(() => Read(("RANK", "4"), ("WORLD_SIZE", "4"))).Message);
        Assert.Equal("the environment variable MASTER_PORT is '70000'; expected a number from 1 to 65535.",
            Assert.Throws<CollectiveException>(() => Read(("RANK", "1"), ("WORLD_SIZE", "4"), ("MASTER_PORT", "70000"))).Message);
    }

    [Fact]
    public void A_port_in_use_is_named()
    {
        using var other = new TcpListener(IPAddress.Any, 0);
        other.Start();
        int port = ((IPEndPoint)other.LocalEndpoint).Port;
        string message = Assert.Throws<CollectiveException>(() => RankEnvironment.RequireFreePort(port)).Message;
        Assert.StartsWith($"MASTER_PORT is {port}, where this machine does not let rank 0 listen (", message);
        Assert.EndsWith("; expected a port that no other program uses.", message);
    }

    [Fact]
    public void Options_that_do_not_fit_are_refused()
    {
        Assert.Equal("Timeout is 00:00:00; expected a time above 0, at most 1 day. (Parameter 'Timeout')",
            Assert.Throws<ArgumentOutOfRangeException>(() => Collectives.Connect(new() { Timeout = TimeSpan.Zero })).Message);
        using var ranks = Collectives.Single();
        Assert.Throws<ArgumentOutOfRangeException>(() => new DataParallel(ranks) { BucketBytes = 0 }.Check());
        Assert.Equal("ShardRanks is -1; expected at least 0. (Parameter 'ShardRanks')",
            Assert.Throws<ArgumentOutOfRangeException>(() => new DataParallel(ranks) { ShardRanks = -1 }.Check()).Message);
        Assert.Equal("ShardRanks is 3; expected a divisor of 1, the number of ranks. (Parameter 'ShardRanks')",
            Assert.Throws<ArgumentOutOfRangeException>(() => new DataParallel(ranks) { ShardRanks = 3 }.Check()).Message);
        Assert.Equal("Device is null; expected cuda, because the engine is NCCL. (Parameter 'Device')",
            Assert.Throws<ArgumentException>(() => Collectives.Connect(new() { Engine = CollectiveEngine.Nccl })).Message);
    }
}
