using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Distributed;

/// <summary>
/// Contains parameters that are gathered and released together, such as those of a block.
/// <para>
/// 1. Gathered parameters lie in one buffer: first those that can be divided anywhere, in as many equal chunks as there are ranks, then those that
/// stay whole on one rank. The memory of the buffer exists only while the parameters are gathered.
/// 2. A rank keeps its chunk and its whole parameters. The optimizer updates views of them.
/// 3. Gradients are copied to a buffer of the same layout, are summed, and leave the part of this rank, to which those of later passes are added.
/// </para>
/// Between gathers, the parameters of the model read as NaN.
/// </summary>
sealed class ShardedUnit : IDisposable
{
    readonly Collectives ranks;
    readonly List<Member> members = [];
    readonly Tensor buffer, own, absent;
    readonly long chunk, section;
    StartedOperations? gathering, reducing;
    Tensor? gradients, received, ownGradient;

    // Offset is the place in the buffer, and OwnOffset the place in what this rank keeps, for a parameter that is whole on a rank
    sealed record Member(ModelParameter Parameter, long Offset, int Owner, long OwnOffset)
    {
        public bool IsDivided => Owner < 0;

        public long Count { get; } = Parameter.Value.NumberOfElements;

        public long[] Shape { get; } = Parameter.Value.shape;

        public required Tensor View { get; init; }

        public required Tensor Absent { get; init; }

        public bool HadGradient { get; set; }

        public Tensor In(Tensor of) => of.narrow(0, Offset, Count).view(Shape);

        public Tensor InOwn(Tensor of) => of.narrow(0, OwnOffset, Count).view(Shape);
    }

    /// <summary>Divides parameters, which all ranks have, over ranks. They stay gathered.</summary>
    /// <param name="ranks">The ranks.</param>
    /// <param name="parameters">The parameters, of one type and on one device.</param>
    /// <param name="owners">The ranks of the parameters that must stay whole.</param>
    public ShardedUnit(Collectives ranks, IReadOnlyList<ModelParameter> parameters, IReadOnlyDictionary<string, int> owners)
    {
        this.ranks = ranks;
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var divided = parameters.Where(item => !owners.ContainsKey(item.Name)).ToArray();
        chunk = Shard.Aligned((divided.Sum(SizeOf) + ranks.Size - 1) / ranks.Size);
        section = chunk * ranks.Size;
        var whole = parameters.Except(divided).ToArray();
        var mine = whole.Where(item => owners[item.Name] == ranks.Rank).ToArray();
        var (type, device) = parameters.Count == 0 ? (ScalarType.Float32, CPU) : (parameters[0].Value.dtype, parameters[0].Value.device);
        buffer = zeros([section + whole.Sum(SizeOf)], type, device).DetachFromDisposeScope();
        own = zeros([chunk + mine.Sum(SizeOf)], type, device).DetachFromDisposeScope();
        absent = tensor(double.NaN, type, device).DetachFromDisposeScope();
        long offset = 0, ownOffset = chunk;
        foreach (var item in divided) Add(item, -1, ref offset, ref ownOffset);
        offset = section;
        foreach (var item in whole) Add(item, owners[item.Name], ref offset, ref ownOffset);
        IsGathered = true;
        Keep();
    }

    /// <summary>Keeps the part of this rank of gathered parameters.</summary>
    public void Keep()
    {
        if (!IsGathered || IsEmpty) return;
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        if (chunk > 0) own.narrow(0, 0, chunk).copy_(buffer.narrow(0, ranks.Rank * chunk, chunk));
        foreach (var member in Mine) member.InOwn(own).copy_(member.View);
    }

    static long SizeOf(ModelParameter parameter) => Shard.Aligned(parameter.Value.NumberOfElements);

    void Add(ModelParameter parameter, int owner, ref long offset, ref long ownOffset)
    {
        var value = parameter.Value;
        var member = new Member(parameter, offset, owner, ownOffset)
        {
            View = buffer.narrow(0, offset, value.NumberOfElements).view(value.shape).DetachFromDisposeScope(),
            Absent = absent.expand(value.shape).DetachFromDisposeScope(),
        };
        member.View.copy_(value);
        TensorStorage.SetData(value, member.View);
        members.Add(member);
        offset += SizeOf(parameter);
        if (owner == ranks.Rank) ownOffset += SizeOf(parameter);
    }

    IEnumerable<Member> Whole => members.Where(member => !member.IsDivided);

    IEnumerable<Member> Mine => members.Where(member => member.Owner == ranks.Rank);

    bool IsEmpty => members.Count == 0;

    /// <summary>Gets whether the parameters can be read.</summary>
    public bool IsGathered { get; private set; }

    /// <summary>Gets the number of elements that this rank keeps.</summary>
    public long OwnElements => own.NumberOfElements;

    /// <summary>Returns the parts of the parameters that each rank updates.</summary>
    public IEnumerable<Shard> Shards()
    {
        foreach (var member in members)
        {
            if (!member.IsDivided)
            {
                yield return new(member.Parameter, 0, member.Count, member.Owner);
                continue;
            }
            for (long first = 0; first < member.Count;)
            {
                int owner = (int)((member.Offset + first) / chunk);
                long count = Math.Min(member.Count - first, (owner + 1) * chunk - member.Offset - first);
                yield return new(member.Parameter, first, count, owner);
                first += count;
            }
        }
    }

    /// <summary>Returns a shard of this rank as a parameter for the optimizer. It shares the memory of what the rank keeps.</summary>
    public Parameter Represent(Shard shard)
    {
        using var scope = NewDisposeScope();
        var part = new Parameter(PartOf(own, shard));
        part.DetachFromDisposeScope();
        return part;
    }

    /// <summary>Returns the sum of the gradients of a shard of this rank; null if there is none.</summary>
    public Tensor? GradientOf(Shard shard) => ownGradient is null ? null : PartOf(ownGradient, shard);

    Tensor PartOf(Tensor of, Shard shard)
    {
        var member = members.First(item => ReferenceEquals(item.Parameter, shard.Parameter));
        if (!member.IsDivided) return member.InOwn(of);
        var part = of.narrow(0, member.Offset + shard.First - ranks.Rank * chunk, shard.Count);
        return shard.IsWhole ? part.view(member.Shape) : part;
    }

    /// <summary>Starts to gather the parameters unless they are gathered. All ranks call it.</summary>
    public void StartGather()
    {
        if (IsGathered || gathering is not null || IsEmpty) return;
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        TensorStorage.Allocate(buffer);
        foreach (var member in Mine) member.View.copy_(member.InOwn(own));
        gathering = ranks.Start(() =>
        {
            if (chunk > 0) ranks.AllGather(buffer.narrow(0, 0, section), own.narrow(0, 0, chunk));
            foreach (var member in Whole) ranks.Broadcast(member.View, member.Owner);
        });
    }

    /// <summary>Gathers the parameters, so that the current stream can read them. All ranks call it.</summary>
    public void Gather()
    {
        if (IsGathered || IsEmpty) return;
        StartGather();
        gathering!.Wait();
        gathering = null;
        using var noGrad = no_grad();
        foreach (var member in members) TensorStorage.SetData(member.Parameter.Value, member.View);
        IsGathered = true;
    }

    /// <summary>Releases the memory of the parameters.</summary>
    public void Release()
    {
        if (!IsGathered || IsEmpty) return;
        using var noGrad = no_grad();
        foreach (var member in members) TensorStorage.SetData(member.Parameter.Value, member.Absent);
        TensorStorage.Release(buffer);
        IsGathered = false;
    }

    /// <summary>Takes the gradients of the parameters, and starts to sum and divide them. All ranks call it.</summary>
    public void StartReduce()
    {
        FinishReduce();
        if (IsEmpty) return;
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        gradients = Zeros(section + Whole.Sum(item => SizeOf(item.Parameter))).DetachFromDisposeScope();
        foreach (var member in members)
        {
            if (member.Parameter.Value.grad is not { } gradient) continue;
            member.HadGradient = true;
            member.In(gradients).copy_(gradient);
            member.Parameter.Value.grad = null;
        }
        received = empty([chunk], buffer.dtype, own.device).DetachFromDisposeScope();
        reducing = ranks.Start(() =>
        {
            if (chunk > 0) ranks.ReduceScatter(received, gradients.narrow(0, 0, section));
            foreach (var member in Whole) ranks.Reduce(member.In(gradients), member.Owner);
        });
    }

    Tensor Zeros(params long[] shape) => zeros(shape, own.dtype, own.device);

    /// <summary>Adds the sums of the latest <see cref="StartReduce"/> to the gradient of this rank.</summary>
    public void FinishReduce()
    {
        if (reducing is null) return;
        reducing.Wait();
        reducing = null;
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        ownGradient ??= Zeros(own.shape).DetachFromDisposeScope();
        if (chunk > 0) ownGradient.narrow(0, 0, chunk).add_(received!, Scalars.One);
        foreach (var member in Mine) member.InOwn(ownGradient).add_(member.In(gradients!), Scalars.One);
        DropBuffers();
    }

    /// <summary>Gets the sum of the gradients of this rank; null if there is none.</summary>
    public Tensor? OwnGradient => ownGradient;

    /// <summary>Gets the parameters that had a gradient on this rank in any pass so far, in the order of <see cref="Parameters"/>.</summary>
    public IEnumerable<bool> HadGradients => members.Select(member => member.HadGradient);

    /// <summary>Gets the parameters.</summary>
    public IEnumerable<ModelParameter> Parameters => members.Select(member => member.Parameter);

    /// <summary>Deletes the gradients of a step.</summary>
    public void DropGradients()
    {
        foreach (var member in members) member.Parameter.Value.grad = null;
        ownGradient?.Dispose();
        ownGradient = null;
    }

    void DropBuffers()
    {
        gradients?.Dispose();
        received?.Dispose();
        gradients = received = null;
    }

    /// <summary>Releases what this rank keeps. Parameters that are not gathered stay NaN.</summary>
    public void Dispose()
    {
        // the model, and with it the parameters, may be disposed already
        ownGradient?.Dispose();
        DropBuffers();
        foreach (var member in members)
        {
            member.View.Dispose();
            member.Absent.Dispose();
        }
        foreach (var tensor in (Tensor[])[buffer, own, absent]) tensor.Dispose();
    }
}
