using System.Diagnostics;
using System.Globalization;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Distributed;

/// <summary>
/// Implements the collectives of MPI for tensors on the CPU. Every operation is started without waiting and then tested until a time limit.
/// </summary>
sealed class MpiCollectives : Collectives
{
    // smaller tensors of a list are copied into one message of at most this size
    const long BucketBytes = 16L << 20;

    // MPI counts in 32 bits
    const int MaxCount = 1 << 30;

    // the time after which a rank that waits sleeps between two looks
    static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(0.2);

    // the time in which other ranks reach the end after this one
    static readonly TimeSpan Parting = TimeSpan.FromSeconds(20);

    readonly MpiLibrary mpi;
    readonly nint group;
    readonly MpiCollectives? parent;
    readonly TimeSpan timeout;
    readonly List<Operation> outstanding = [];
    List<Operation>? starting;
    string? failure;
    bool disposed;

    MpiCollectives(MpiLibrary mpi, nint group, int rank, int size, int localRank, TimeSpan timeout, MpiCollectives? parent)
        : base(rank, size, localRank, CPU) =>
        (this.mpi, this.group, this.timeout, this.parent) = (mpi, group, timeout, parent);

    // a request of MPI; after its completion, the result is copied to where it belongs
    sealed class Operation(nint request, string what, Action? finish)
    {
        public nint Request = request;

        public string What => what;

        public Action? Finish => finish;
    }

    public override string Library => mpi.Version;

    public override TimeSpan Timeout => timeout;

    /// <summary>Starts MPI, and waits for the other ranks.</summary>
    public static MpiCollectives Connect(RankEnvironment environment, CollectiveOptions options)
    {
        TorchLibrary.EnsureLoaded();
        var mpi = MpiLibrary.Load(environment.Launcher);
        var (rank, size) = StartWithin(options.StartTimeout, environment, mpi);
        if (size != environment.Size)
            throw new CollectiveException(Require.Message(
                $"{environment.Launcher} has started {environment.Size} processes, but {mpi.Version} connects {size}",
                $"the same number; start the program with the mpirun of this library (mpirun -n {environment.Size} PROGRAM)"));
        var made = new MpiCollectives(mpi, mpi.World, rank, size, environment.LocalRank, options.Timeout, null);
        made.Wait(new(mpi.Barrier(mpi.World), "the start", null), options.StartTimeout);
        return made;
    }

    // MPI_Init waits without a limit
    static (int Rank, int Size) StartWithin(TimeSpan limit, RankEnvironment environment, MpiLibrary mpi)
    {
        var start = Task.Factory.StartNew(mpi.Start, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        if (Task.WaitAny([start], limit) >= 0) return start.GetAwaiter().GetResult();
        throw new CollectiveException(string.Create(CultureInfo.InvariantCulture,
            $"rank {environment.Rank} of {environment.Size} has waited {limit.TotalSeconds:0.#} s for the others at the start; a rank is missing"));
    }

    private protected override Collectives SplitChecked(int number)
    {
        Barrier();          // MPI_Comm_split waits without a limit
        var (made, rank, size) = mpi.Split(group, number, Rank);
        return new MpiCollectives(mpi, made, rank, size, LocalRank, timeout, this);
    }

    public override void Barrier()
    {
        ThrowIfFailed();
        Wait(new(mpi.Barrier(group), "a barrier", null), timeout);
    }

    public override void ThrowIfFailed()
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (failure is not null) throw new CollectiveException(failure);
        parent?.ThrowIfFailed();
    }

    internal override void Abandon() => failure ??= "this rank has failed before; its collectives cannot be used";

    void Wait(Operation operation, TimeSpan limit)
    {
        long began = Stopwatch.GetTimestamp();
        try
        {
            while (!mpi.IsComplete(ref operation.Request))
            {
                var waited = Stopwatch.GetElapsedTime(began);
                // other ranks may need this processor
                if (waited < Patience) Thread.Yield();
                else Thread.Sleep(1);
                if (waited > limit)
                    throw new CollectiveException(string.Create(CultureInfo.InvariantCulture,
                        $"rank {Rank} of {Size} has waited {limit.TotalSeconds:0.#} s for the others at {operation.What}; ")
                        + "a rank is missing, hangs or has failed");
            }
        }
        catch (CollectiveException e)
        {
            Fail(e.Message);
            throw;
        }
        operation.Finish?.Invoke();
    }

    void Fail(string message)
    {
        failure = message;
        parent?.Fail(message);
    }

    internal override StartedOperations Start(Action work)
    {
        ThrowIfFailed();
        var own = starting = [];
        try
        {
            work();
        }
        finally
        {
            starting = null;
        }
        outstanding.AddRange(own);
        return new(() =>
        {
            foreach (var operation in own)
            {
                Wait(operation, timeout);
                outstanding.Remove(operation);
            }
        });
    }

    internal override void Advance()
    {
        // a test of a request that is complete does nothing
        foreach (var operation in outstanding) mpi.IsComplete(ref operation.Request);
    }

    void Begin(nint request, string what, Action? finish = null)
    {
        var operation = new Operation(request, what, finish);
        if (starting is null) Wait(operation, timeout);
        else starting.Add(operation);
    }

    private protected override void AllReduceChecked(Tensor tensor, ReduceOperation operation)
    {
        ThrowIfFailed();
        using var scope = NewDisposeScope();
        var (wide, type) = Computable(tensor);
        Pieces(wide, "an all-reduce", (data, count) => mpi.AllReduce(data, count, type, operation, group), Return(wide, tensor));
    }

    private protected override void AllReduceChecked(Tensor[] tensors, ReduceOperation operation)
    {
        var bucket = new List<Tensor>();
        long bytes = 0;
        foreach (var tensor in tensors)
        {
            long size = tensor.NumberOfElements * tensor.ElementSize;
            if (bucket.Count > 0 && (bytes + size > BucketBytes || tensor.dtype != bucket[0].dtype))
            {
                AllReduceBucket(bucket, operation);
                (bucket, bytes) = ([], 0);
            }
            bucket.Add(tensor);
            bytes += size;
        }
        AllReduceBucket(bucket, operation);
    }

    void AllReduceBucket(List<Tensor> bucket, ReduceOperation operation)
    {
        if (bucket.Count == 1)
        {
            AllReduceChecked(bucket[0], operation);
            return;
        }
        ThrowIfFailed();
        using var scope = NewDisposeScope();
        var joined = cat([.. bucket.Select(tensor => tensor.detach().reshape(-1))]);
        var (wide, type) = Computable(joined);
        wide.DetachFromDisposeScope();
        Pieces(wide, "an all-reduce", (data, count) => mpi.AllReduce(data, count, type, operation, group), () =>
        {
            using var inner = NewDisposeScope();
            using (wide) Divide(wide, bucket);
        });
    }

    static void Divide(Tensor joined, List<Tensor> bucket)
    {
        long first = 0;
        foreach (var tensor in bucket)
        {
            tensor.copy_(joined.narrow(0, first, tensor.NumberOfElements).view(tensor.shape));
            first += tensor.NumberOfElements;
        }
    }

    private protected override void ReduceChecked(Tensor tensor, int root, ReduceOperation operation)
    {
        ThrowIfFailed();
        using var scope = NewDisposeScope();
        var (wide, type) = Computable(tensor);
        Pieces(wide, "a reduction", (data, count) => mpi.Reduce(data, count, type, operation, root, Rank == root, group),
            Return(wide, tensor, Rank == root));
    }

    private protected override void ReduceScatterChecked(Tensor output, Tensor input, ReduceOperation operation)
    {
        ThrowIfFailed();
        using var scope = NewDisposeScope();
        var (whole, type) = Computable(input);
        var (part, _) = Computable(output);
        if (!ReferenceEquals(whole, input)) whole.DetachFromDisposeScope();
        var (result, finish) = (part, Return(part, output));
        Begin(mpi.ReduceScatter(TensorMemory.Pointer(whole), TensorMemory.Pointer(result), Count(result), type, operation, group),
            "a reduce-scatter", () =>
            {
                if (!ReferenceEquals(whole, input)) whole.Dispose();
                finish?.Invoke();
                GC.KeepAlive(result);
            });
    }

    private protected override void AllGatherChecked(Tensor output, Tensor input)
    {
        ThrowIfFailed();
        Begin(mpi.AllGather(TensorMemory.Pointer(input), TensorMemory.Pointer(output), Count(input), Plain(input), group), "an all-gather", () =>
        {
            GC.KeepAlive(input);
            GC.KeepAlive(output);
        });
    }

    private protected override void BroadcastChecked(Tensor tensor, int root)
    {
        ThrowIfFailed();
        nint type = Plain(tensor);
        Pieces(tensor, "a broadcast", (data, count) => mpi.Broadcast(data, count, type, root, group), null);
    }

    // MPI has no bfloat16
    (Tensor Value, nint Type) Computable(Tensor tensor) => tensor.dtype switch
    {
        ScalarType.BFloat16 => (tensor.to(ScalarType.Float32), mpi.Float32),
        ScalarType.Float32 => (tensor, mpi.Float32),
        ScalarType.Float64 => (tensor, mpi.Float64),
        _ => (tensor, mpi.Int64),
    };

    // returns what copies the result back; the copy lives until then
    static Action? Return(Tensor wide, Tensor tensor, bool isWanted = true)
    {
        if (ReferenceEquals(wide, tensor)) return null;
        wide.DetachFromDisposeScope();
        return () =>
        {
            using (wide)
                if (isWanted) tensor.copy_(wide);
        };
    }

    nint Plain(Tensor tensor) => tensor.ElementSize switch { 1 => mpi.Byte, 2 => mpi.TwoBytes, 4 => mpi.Float32, _ => mpi.Int64 };

    int Count(Tensor part) => part.NumberOfElements <= MaxCount ? (int)part.NumberOfElements
        : throw Require.Unfit(null, $"the part of a rank has {part.NumberOfElements} elements", $"at most {MaxCount}; divide the tensor");

    void Pieces(Tensor tensor, string what, Func<nint, int, nint> begin, Action? finish)
    {
        nint data = TensorMemory.Pointer(tensor);
        long total = tensor.NumberOfElements;
        for (long first = 0; first < total; first += MaxCount)
        {
            bool isLast = first + MaxCount >= total;
            Begin(begin(data + (nint)(first * tensor.ElementSize), (int)Math.Min(MaxCount, total - first)), what, () =>
            {
                GC.KeepAlive(tensor);
                if (isLast) finish?.Invoke();
            });
        }
    }

    // MPI_Finalize waits without a limit
    void End()
    {
        Wait(new(mpi.Barrier(group), "the end", null), Parting);
        mpi.End();
    }

    private protected override void Dispose(bool disposing)
    {
        if (disposed) return;
        if (failure is null && parent?.failure is null)
        {
            try
            {
                if (parent is null) End();
                else mpi.Free(group);
            }
            catch (CollectiveException)
            {
                // a rank has failed, and MPI is not ended: the launcher then ends all ranks
            }
        }
        disposed = true;
    }
}
